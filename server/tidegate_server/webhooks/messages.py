"""The requests to webhooks: JSON as in docs/webhooks.md, or a text for Slack."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from tidegate.version import VERSION

from tidegate_server.domain.calendar import instant_text
from tidegate_server.domain.release import Basis
from tidegate_server.domain.release_events import ReleaseEvent, ReleaseSummary
from tidegate_server.domain.release_gates import Event
from tidegate_server.domain.webhooks import Format, Webhook
from tidegate_server.webhooks.signing import signature, signing_secret

CONFIRM = "confirm"
"""The event of a request for confirmation."""


def request_headers(
    secret_key: bytes, webhook: Webhook, event: str, id: str, body: bytes, now_ms: int
) -> dict[str, str]:
    """Return the headers of a request, signature included.

    Args:
        secret_key: the server's secret key.
        webhook: the receiver.
        event: the message's event, or ``confirm``.
        id: the message's id, the same at every attempt.
        body: the request's body.
        now_ms: when the request is signed (store clock).
    """
    secrets = (signing_secret(secret_key, each) for each in webhook.secret_ids(now_ms))
    return {
        "Content-Type": "application/json",
        "User-Agent": f"Tidegate/{VERSION}",
        "Tidegate-Event": event,
        "Tidegate-Delivery": id,
        "Tidegate-Signature": signature(secrets, now_ms // 1_000, body),
    }


def event_body(format: Format, project: str, id: str, event: ReleaseEvent) -> bytes:
    """Return the body of a message about an event, in a webhook's format."""
    if format is Format.SLACK:
        return _json({"text": slack_text(project, event)})
    return _json(
        {
            "id": id,
            "event": event.event,
            "at": instant_text(event.at_ms),
            "project": project,
            "environment": event.environment,
            "actor": event.actor,
            "reason": event.reason,
            "release": asdict(event.release) if event.release is not None else None,
        }
    )


def confirmation_body(
    id: str,
    at_ms: int,
    project: str,
    environment: str,
    release: ReleaseSummary,
    then: Mapping[str, Any],
    reason: str,
) -> bytes:
    """Return the body of a request to confirm that ``release`` changes to ``then``."""
    return _json(
        {
            "id": id,
            "event": CONFIRM,
            "at": instant_text(at_ms),
            "project": project,
            "environment": environment,
            "reason": reason,
            "release": asdict(release),
            "then": dict(then),
        }
    )


def slack_text(project: str, event: ReleaseEvent) -> str:
    """Return an event in a few lines of Slack's markup."""
    reason = _escape(event.reason)
    by = _escape(event.actor)
    if event.release is None:
        return f"Tidegate can reach this channel (a test by {by})."
    release = event.release
    where = _escape(f"{project}/{event.environment}")
    head = f"*{_escape(release.flag)}* in {where}: {_escape(_headline(event.event, release))}"
    return f"{head}\n>{reason}\n_{by}, {_escape(release.id)}_" if reason else head


def _headline(event: str, release: ReleaseSummary) -> str:
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


def _escape(text: str) -> str:
    """Return a text on one line without characters that are markup in Slack."""
    plain = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return " ".join(plain.split())


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
