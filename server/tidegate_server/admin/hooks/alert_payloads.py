"""Read the alerts of monitoring systems.

Monitoring systems add fields to their payloads, so unknown fields are ignored. A payload that
cannot be read is refused, with the field at fault, and nothing is done.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tidegate.evaluation.instants import utc_text

from tidegate_server.domain.hooks import AlertKind
from tidegate_server.errors import FieldProblem, Invalid

MAX_SUMMARY = 300
MAX_EPISODES = 100
"""The number of alerts that are read from one group; the rest of a larger group is ignored."""


class AlertStatus(StrEnum):
    """Whether an alert fires, has ended, or is neither."""

    FIRING = "firing"
    RESOLVED = "resolved"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert of a monitoring system.

    ``episodes`` identify what fires now: an alert that is sent again while it lasts has the
    same episode, and a new one when it fires again. Empty: the payload does not identify them.
    """

    status: AlertStatus
    summary: str
    episodes: tuple[str, ...] = ()


def parse_alert(kind: AlertKind, payload: Mapping[str, Any]) -> Alert:
    """Return the alert in a payload.

    Raises:
        Invalid: it is not a payload of this kind.
    """
    match kind:
        case AlertKind.ALERTMANAGER:
            return _read_alertmanager(payload)
        case AlertKind.GRAFANA:
            return (
                _read_alertmanager(payload)
                if "status" in payload
                else _read_legacy_grafana(payload)
            )
        case AlertKind.DATADOG:
            return _read_datadog(payload)
        case AlertKind.GENERIC:
            return _read_generic(payload)


_ALERTMANAGER_STATUSES = {"firing": AlertStatus.FIRING, "resolved": AlertStatus.RESOLVED}


def _read_alertmanager(payload: Mapping[str, Any]) -> Alert:
    """Read Alertmanager's webhook, version 4, or Grafana's, which has the same format."""
    status = _ALERTMANAGER_STATUSES.get(_text(payload, "status"))
    if status is None:
        raise _refused("/status", 'This must be "firing" or "resolved", as Alertmanager sends it.')
    alerts = payload.get("alerts")
    if not isinstance(alerts, list) or not all(isinstance(each, dict) for each in alerts):
        raise _refused("/alerts", "This must be a list of alerts.")
    firing = [each for each in alerts if each.get("status") == "firing"]
    # The status of the group says nothing about a list that has no alert of that status.
    if firing:
        status = AlertStatus.FIRING
    elif alerts or status is AlertStatus.RESOLVED:
        status = AlertStatus.RESOLVED
    else:
        status = AlertStatus.OTHER
    shown = firing or alerts
    summaries = [summary for each in shown if (summary := _alert_summary(each))]
    more = f" and {len(shown) - 1} more" if len(shown) > 1 else ""
    summary = summaries[0] + more if summaries else _text(payload, "title") or "an alert"
    return Alert(status, _one_line(summary), _episodes(firing))


def _alert_summary(alert: Mapping[str, Any]) -> str:
    annotations = _object(alert, "annotations")
    name = _text(_object(alert, "labels"), "alertname")
    summary = _text(annotations, "summary") or _text(annotations, "description")
    return f"{name}: {summary}" if name and summary else name or summary


def _episodes(firing: list[dict[str, Any]]) -> tuple[str, ...]:
    episodes = [
        f"{_text(each, 'fingerprint')}@{_instant(_text(each, 'startsAt'))}"
        for each in firing[:MAX_EPISODES]
        if _text(each, "fingerprint") and _text(each, "startsAt")
    ]
    # All or none: an alert without an episode cannot be distinguished from the others.
    return tuple(episodes) if len(episodes) == len(firing[:MAX_EPISODES]) else ()


def _instant(text: str) -> str:
    """Return a time in one notation, the one that Alertmanager uses in UTC."""
    return utc_text(text.strip()) or text


_LEGACY_GRAFANA_STATES = {"alerting": AlertStatus.FIRING, "ok": AlertStatus.RESOLVED}


def _read_legacy_grafana(payload: Mapping[str, Any]) -> Alert:
    """Read an alert of Grafana's legacy dashboard alerting."""
    state = _text(payload, "state")
    if not state:
        raise _refused(
            "/status",
            "There is neither a `status` nor a `state` that says whether the alert fires.",
        )
    summary = _text(payload, "title") or _text(payload, "ruleName") or "an alert"
    return Alert(_LEGACY_GRAFANA_STATES.get(state, AlertStatus.OTHER), _one_line(summary))


_DATADOG_TRANSITIONS = {
    "triggered": AlertStatus.FIRING,
    "re-triggered": AlertStatus.FIRING,
    "recovered": AlertStatus.RESOLVED,
}
_DATADOG_TITLE = re.compile(r"(?:\[P[1-5]\] *)?\[([^\]]*)\]")
_DATADOG_TRANSITION = re.compile(r"[A-Za-z -]+")


def _read_datadog(payload: Mapping[str, Any]) -> Alert:
    """Read Datadog's webhook, with the payload in docs/webhooks.md or the default one.

    The default payload has no transition, but its title begins with it.
    """
    title = _text(payload, "title")
    transition = _text(payload, "alert_transition")
    if not transition and (match := _DATADOG_TITLE.match(title)):
        begins = match[1].partition(" on ")[0]
        transition = begins if _DATADOG_TRANSITION.fullmatch(begins) else ""
    if not transition:
        raise _refused(
            "/alert_transition",
            'The payload does not say whether the alert fires: add "alert_transition": '
            '"$ALERT_TRANSITION" to the payload of the webhook in Datadog.',
        )
    status = _DATADOG_TRANSITIONS.get(transition.lower(), AlertStatus.OTHER)
    if transition.lower() == "renotify" and _text(payload, "alert_type") == "error":
        status = AlertStatus.FIRING
    cycle = _text(payload, "alert_cycle_key")
    return Alert(status, _one_line(title or "an alert"), (cycle,) if cycle else ())


def _read_generic(payload: Mapping[str, Any]) -> Alert:
    """Read ``{"status": "firing", "summary": "...", "id": "..."}``, as a script may send it."""
    status = _ALERTMANAGER_STATUSES.get(_text(payload, "status"))
    if status is None:
        raise _refused("/status", 'This must be "firing" or "resolved".')
    id = _text(payload, "id")
    summary = _text(payload, "summary") or "an alert"
    return Alert(status, _one_line(summary), (id,) if id else ())


def _text(payload: Mapping[str, Any], name: str) -> str:
    value = payload.get(name)
    return value if isinstance(value, str) else ""


def _object(payload: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = payload.get(name)
    return value if isinstance(value, dict) else {}


def _one_line(text: str) -> str:
    """Return a text on one line, without control characters, cut to the longest summary."""
    plain = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return plain[:MAX_SUMMARY]


def _refused(pointer: str, detail: str) -> Invalid:
    return Invalid(f"Nothing was done. {pointer}: {detail}", FieldProblem(pointer, detail))
