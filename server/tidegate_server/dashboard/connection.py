"""What the server sees of an environment's applications: who asks for a flag, and who cannot."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from tidegate_server.dashboard import api, words
from tidegate_server.dashboard.shell import Place

RECENT: Final = timedelta(minutes=10)
"""For how long an evaluation, or what went wrong, is about now."""

MOST_SEEN: Final = 6


@dataclass(frozen=True, slots=True)
class Connection:
    """Whether an application asks for a flag.

    Attributes:
        connected: whether one did lately.
        who: who asked last, as the beginning of a sentence; empty: nobody ever did.
        ago: how long ago.
    """

    connected: bool
    who: str
    ago: str


def connection(place: Place, flag: str, now: datetime) -> Connection:
    """Return who asked for a flag last: an application, or a page that reads all its flags."""
    here = ("projects", place.project, "environments", place.environment, "flags", flag)
    found: list[tuple[datetime, str]] = []
    for asker in api.get(*here, "evaluations")["askers"][:1]:
        who = asker["application"] or "An application"
        where = f" on {asker['host']}" if asker["host"] else ""
        found.append((words.parse_instant(asker["last_at"]), f"{who}{where} asked for {flag}"))
    in_bulk = api.get(*here)["evaluated"]["in_bulk_at"]
    if in_bulk:
        who = f"A page or an app asked for all its flags, {flag} among them,"
        found.append((words.parse_instant(in_bulk), who))
    if not found:
        return Connection(False, "", "")
    at, who = max(found)
    length = words.duration(max(1_000.0, (now - at).total_seconds() * 1000))
    return Connection(now - at < RECENT, who, f"{length} ago")


def seen(place: Place, others: tuple[Place, ...], flag: str, now: datetime) -> list[str]:
    """Return what the server saw lately that may be why a flag is not asked for, in sentences.

    Args:
        place: where the application should ask.
        others: the places of the project, where it may ask instead.
        flag: what it should ask for.
        now: the time of the page.
    """
    lines = []
    here = ("projects", place.project, "environments", place.environment)
    refused = api.get_if_allowed(*here, "refused-requests", limit=20)
    for each in refused["items"] if refused else ():
        if _is_recent(each["last_at"], now):
            token = f" with the token {each['token']}" if each["token"] else ""
            lines.append(
                f"A request{token} from {each['address']} was refused "
                f"{words.ago(each['last_at'], now)}: {each['detail']}"
            )
    for each in _live_instances(place):
        lines.append(
            f"{_name(each)} is connected to {place.environment}, and has not asked for {flag} yet."
        )
    for other in others:
        if other != place:
            lines.extend(
                f"{_name(each)} is connected to {other.environment}, not to {place.environment}: "
                "its token belongs there."
                for each in _live_instances(other)
            )
    for each in api.get(*here, "unknown-flags", limit=20)["items"]:
        if _is_recent(each["last_at"], now):
            lines.append(f"{each['application']} asked for {each['key']}, which does not exist.")
    return lines[:MOST_SEEN]


def _live_instances(place: Place) -> list[dict[str, Any]]:
    here = ("projects", place.project, "environments", place.environment, "instances")
    found = api.get_if_allowed(*here, live="true", limit=3)
    return list(found["items"]) if found else []


def _name(instance: dict[str, Any]) -> str:
    return f"{instance['application'] or instance['token'] or 'A process'} on {instance['host']}"


def _is_recent(text: str, now: datetime) -> bool:
    return now - words.parse_instant(text) < RECENT
