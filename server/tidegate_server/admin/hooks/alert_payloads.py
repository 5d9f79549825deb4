"""Alerts of monitoring systems, understood: does it fire, what does it say, which one is it.

Their payloads are theirs to extend, so unknown fields mean nothing here. What cannot be
understood is refused with the field at fault, and nothing is done.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tidegate_server.domain.hooks import AlertKind
from tidegate_server.errors import FieldProblem, Invalid

LONGEST_SUMMARY = 300
MOST_EPISODES = 100
"""Alerts of one group that are told apart; a larger group is the same to us."""


class AlertStatus(StrEnum):
    """Whether an alert fires, has ended, or is something that is neither."""

    FIRING = "firing"
    RESOLVED = "resolved"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Alert:
    """What a monitoring system says.

    ``episodes`` name the occurrences that fire: an alert that is sent again while it lasts has
    the same one, and another one when it fires anew. Empty: the system does not tell.
    """

    status: AlertStatus
    summary: str
    episodes: tuple[str, ...] = ()


def read_alert(kind: AlertKind, payload: Mapping[str, Any]) -> Alert:
    """Understand a payload.

    Raises:
        Invalid: it is not one of this kind.
    """
    match kind:
        case AlertKind.ALERTMANAGER:
            return _of_group(payload)
        case AlertKind.GRAFANA:
            return _of_group(payload) if "status" in payload else _of_legacy_grafana(payload)
        case AlertKind.DATADOG:
            return _of_datadog(payload)
        case AlertKind.GENERIC:
            return _of_generic(payload)


_GROUP = {"firing": AlertStatus.FIRING, "resolved": AlertStatus.RESOLVED}


def _of_group(payload: Mapping[str, Any]) -> Alert:
    """Alertmanager's webhook, version 4, and Grafana's, which takes after it."""
    status = _GROUP.get(_text(payload, "status"))
    if status is None:
        raise _refused("/status", 'This must be "firing" or "resolved", as Alertmanager has it.')
    alerts = payload.get("alerts", [])
    if not isinstance(alerts, list) or not all(isinstance(each, dict) for each in alerts):
        raise _refused("/alerts", "This must be a list of alerts.")
    firing = [each for each in alerts if each.get("status") == "firing"]
    if alerts:
        status = AlertStatus.FIRING if firing else AlertStatus.RESOLVED
    shown = firing or alerts
    words = [found for each in shown if (found := _words_of(each))]
    more = f" and {len(shown) - 1} more" if len(shown) > 1 else ""
    summary = words[0] + more if words else _text(payload, "title") or "an alert"
    return Alert(status, _short(summary), _episodes(firing))


def _words_of(alert: Mapping[str, Any]) -> str:
    annotations = _object(alert, "annotations")
    name = _text(_object(alert, "labels"), "alertname")
    said = _text(annotations, "summary") or _text(annotations, "description")
    return f"{name}: {said}" if name and said else name or said


def _episodes(firing: list[dict[str, Any]]) -> tuple[str, ...]:
    found = [
        f"{_text(each, 'fingerprint')}@{_text(each, 'startsAt')}"
        for each in firing[:MOST_EPISODES]
        if _text(each, "fingerprint") and _text(each, "startsAt")
    ]
    # Without a name for each of them, none can be told from another one.
    return tuple(found) if len(found) == len(firing[:MOST_EPISODES]) else ()


_LEGACY_GRAFANA = {"alerting": AlertStatus.FIRING, "ok": AlertStatus.RESOLVED}


def _of_legacy_grafana(payload: Mapping[str, Any]) -> Alert:
    """Grafana's dashboard alerts, before its alerts took after Alertmanager's."""
    state = _text(payload, "state")
    if not state:
        raise _refused("/status", "Neither a `status` nor a `state` says whether it fires.")
    summary = _text(payload, "title") or _text(payload, "ruleName") or "an alert"
    return Alert(_LEGACY_GRAFANA.get(state, AlertStatus.OTHER), _short(summary))


_DATADOG = {
    "triggered": AlertStatus.FIRING,
    "re-triggered": AlertStatus.FIRING,
    "recovered": AlertStatus.RESOLVED,
}
_DATADOG_TITLE = re.compile(r"(?:\[P[1-5]\] *)?\[([A-Za-z -]+?)(?: on [^\]]*)?\]")


def _of_datadog(payload: Mapping[str, Any]) -> Alert:
    """Datadog's webhook with the payload of docs/webhooks.md, or its default one.

    The default payload has no transition; the title begins with it.
    """
    title = _text(payload, "title")
    transition = _text(payload, "alert_transition")
    if not transition and (found := _DATADOG_TITLE.match(title)):
        transition = found[1]
    if not transition:
        raise _refused(
            "/alert_transition",
            'Nothing says whether it fires: add "alert_transition": "$ALERT_TRANSITION" to the '
            "webhook's payload in Datadog.",
        )
    status = _DATADOG.get(transition.lower(), AlertStatus.OTHER)
    if transition.lower() == "renotify" and _text(payload, "alert_type") == "error":
        status = AlertStatus.FIRING
    cycle = _text(payload, "alert_cycle_key")
    return Alert(status, _short(title or "an alert"), (cycle,) if cycle else ())


def _of_generic(payload: Mapping[str, Any]) -> Alert:
    """Whatever a script sends: ``{"status": "firing", "summary": "...", "id": "..."}``."""
    status = _GROUP.get(_text(payload, "status"))
    if status is None:
        raise _refused("/status", 'This must be "firing" or "resolved".')
    id = _text(payload, "id")
    summary = _text(payload, "summary") or "an alert"
    return Alert(status, _short(summary), (id,) if id else ())


def _text(payload: Mapping[str, Any], name: str) -> str:
    value = payload.get(name)
    return value if isinstance(value, str) else ""


def _object(payload: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = payload.get(name)
    return value if isinstance(value, dict) else {}


def _short(text: str) -> str:
    """Words on one line, without what could drive a terminal."""
    plain = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return plain[:LONGEST_SUMMARY]


def _refused(pointer: str, detail: str) -> Invalid:
    return Invalid(f"Nothing was done. {pointer}: {detail}", FieldProblem(pointer, detail))
