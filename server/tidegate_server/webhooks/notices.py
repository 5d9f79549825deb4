"""What an event says to people: the same words in every chat and in mail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from tidegate_server.domain.calendar import instant_text
from tidegate_server.domain.release import Basis
from tidegate_server.domain.release_events import TEST, ReleaseEvent, ReleaseSummary
from tidegate_server.domain.release_gates import Event

Mood = Literal["good", "warn", "bad", "plain"]


@dataclass(frozen=True, slots=True)
class Notice:
    """An event in words; every text is plain, on one line.

    Attributes:
        about: the flag; empty in a test.
        place: the project and the environment.
        headline: what happened.
        reason: why; may be empty.
        by: who did it.
        at: when, as an instant in UTC.
        mood: whether it is good news.
        links: what a reader may open: the words, and the address.
        thread: messages with the same text here belong together.
    """

    about: str
    place: str
    headline: str
    reason: str
    by: str
    at: str
    mood: Mood
    links: tuple[tuple[str, str], ...]
    thread: str

    @property
    def title(self) -> str:
        """The event in one line."""
        return f"{self.about} in {self.place}: {self.headline}" if self.about else self.headline


def event_notice(project: str, event: ReleaseEvent, public_url: str) -> Notice:
    """Return an event in words.

    Args:
        project: the key of the project.
        event: what happened.
        public_url: where people open the dashboard; empty: there are no links to it.
    """
    links: list[tuple[str, str]] = []
    page = event_page(project, event, public_url)
    if page:
        opens = "release" if event.release else "flag" if event.about else ""
        links.append((f"Open the {opens}" if opens else "Open Tidegate", page))
    if event.url:
        links.append(("Open the incident", event.url))
    release = event.release
    thread = "test"
    headline = f"Tidegate can reach this channel (a test by {event.actor})."
    if release is not None:
        headline, thread = event_headline(event.event, release), release.id
    elif event.about:
        headline = "KILLED for everyone" if event.event == Event.KILLED else "is restored"
        thread = event.about
    return Notice(
        about=event.about or "",
        place=f"{project}/{event.environment}",
        headline=_line(headline),
        reason=_line(event.reason) if event.event != TEST else "",
        by="the policy" if event.actor == "policy" else _line(event.actor),
        at=instant_text(event.at_ms),
        mood=MOODS.get(event.event, "plain"),
        links=tuple(links),
        thread=thread,
    )


def event_page(project: str, event: ReleaseEvent, public_url: str) -> str:
    """Return the address of the page about an event; empty if the server knows no address."""
    if not public_url or event.about is None:
        return public_url
    place = ("p", project, "e", event.environment)
    release = event.release
    parts = (*place, "flags", event.about) if release is None else (*place, "releases", release.id)
    return public_url + "".join(f"/{quote(part, safe='')}" for part in parts)


def event_headline(event: str, release: ReleaseSummary) -> str:
    """Return what happened to a release, in a few words."""
    before, now = f"{release.percentage_before:g} %", f"{release.percentage:g} %"
    stage = f"stage {release.stage_name} ({release.stage} of {release.stages})"
    match event:
        case Event.STARTED:
            return f"{release.treatment} is released, {now} at {stage}"
        case Event.ADVANCED:
            on_time = " on time, not on evidence," if release.stage_basis is Basis.TIME else ""
            return f"advanced{on_time} to {stage}, {before} → {now}"
        case Event.RETREATED:
            return f"retreated to {stage}, {before} → {now}"
        case Event.ROLLED_BACK:
            return f"rolled back, {before} → {now}"
        case Event.RETRIED:
            return f"retries at {stage}, {now} (attempt {release.attempt})"
        case Event.COMPLETED:
            return f"completed with {release.treatment}"
        case Event.KILLED:
            return f"KILLED at {stage}"
        case _:
            return f"{_HEADLINES.get(event, event)} at {stage}, {now}"


_HEADLINES: Mapping[str, str] = {
    Event.HELD: "is held",
    Event.WENT_ON: "continues",
    Event.PAUSED: "is paused",
    Event.RESUMED: "is resumed",
    Event.APPROVAL_NEEDED: "waits for approval",
    Event.APPROVED: "was approved",
    Event.WARNED: "has a warning",
    Event.RESTORED: "is restored and paused",
}

MOODS: Mapping[str, Mood] = {
    Event.COMPLETED: "good",
    Event.RESTORED: "good",
    Event.HELD: "warn",
    Event.PAUSED: "warn",
    Event.APPROVAL_NEEDED: "warn",
    Event.WARNED: "warn",
    Event.RETREATED: "bad",
    Event.ROLLED_BACK: "bad",
    Event.KILLED: "bad",
}


def _line(text: str) -> str:
    return " ".join(text.split())
