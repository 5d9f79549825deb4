"""What webhooks are sent: JSON as docs/webhooks.md describes it, or a text for Slack."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from tidegate.version import VERSION

from tidegate_server.domain.calendar import instant_text
from tidegate_server.domain.release_events import ReleaseEvent, ReleaseSummary
from tidegate_server.domain.release_gates import Event
from tidegate_server.domain.webhooks import Format, Webhook
from tidegate_server.webhooks.signing import signature, signing_secret

CONFIRM = "confirm"
"""The event of a question that a webhook answers."""


def request_headers(
    secret_key: bytes, webhook: Webhook, event: str, id: str, body: bytes, now_ms: int
) -> dict[str, str]:
    """The headers of a request, its signature among them.

    Args:
        secret_key: the server's.
        webhook: whom the request is for.
        event: what it tells, or ``confirm``.
        id: the message's; the same at every attempt.
        body: the request's.
        now_ms: when it is signed (store clock).
    """
    secrets = (signing_secret(secret_key, each) for each in webhook.secret_ids(now_ms))
    return {
        "Content-Type": "application/json",
        "User-Agent": f"Tidegate/{VERSION}",
        "Tidegate-Event": event,
        "Tidegate-Delivery": id,
        "Tidegate-Signature": signature(secrets, now_ms // 1_000, body),
    }


def notice_body(format: Format, project: str, id: str, notice: ReleaseEvent) -> bytes:
    """A notice as a webhook of a format reads it."""
    if format is Format.SLACK:
        return _json({"text": slack_text(project, notice)})
    return _json(
        {
            "id": id,
            "event": notice.event,
            "at": instant_text(notice.at_ms),
            "project": project,
            "environment": notice.environment,
            "actor": notice.actor,
            "reason": notice.reason,
            "release": asdict(notice.release) if notice.release is not None else None,
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
    """What a webhook is asked to confirm: that ``release`` goes on to ``then``."""
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


def slack_text(project: str, notice: ReleaseEvent) -> str:
    """A notice in a line or two of Slack's markup."""
    reason = _escaped(notice.reason)
    by = _escaped(notice.actor)
    if notice.release is None:
        return f"Tidegate can reach this channel (a test by {by})."
    release = notice.release
    where = _escaped(f"{project}/{notice.environment}")
    head = f"*{_escaped(release.flag)}* in {where}: {_escaped(_headline(notice.event, release))}"
    return f"{head}\n>{reason}\n_{by}, {_escaped(release.id)}_" if reason else head


def _headline(event: str, release: ReleaseSummary) -> str:
    before, now = f"{release.percentage_before:g} %", f"{release.percentage:g} %"
    stage = f"stage {release.stage_name} ({release.stage} of {release.stages})"
    match event:
        case Event.STARTED:
            return f"{release.treatment} is released, {now} at {stage}"
        case Event.ADVANCED:
            return f"advanced to {stage}, {before} → {now}"
        case Event.RETREATED:
            return f"retreated to {stage}, {before} → {now}"
        case Event.ROLLED_BACK:
            return f"rolled back, {before} → {now}"
        case Event.RETRIED:
            return f"tries again at {stage}, {now} (attempt {release.attempt})"
        case Event.COMPLETED:
            return f"completed, everyone has {release.treatment}"
        case Event.KILLED:
            return f"KILLED at {stage}"
        case _:
            return f"{_PLAIN.get(event, event)} at {stage}, {now}"


_PLAIN: Mapping[str, str] = {
    Event.HELD: "holds",
    Event.WENT_ON: "goes on",
    Event.PAUSED: "is paused",
    Event.RESUMED: "is resumed",
    Event.APPROVAL_NEEDED: "waits for approval",
    Event.APPROVED: "was approved",
    Event.WARNED: "warns",
    Event.RESTORED: "is restored and paused",
}


def _escaped(text: str) -> str:
    """Text that Slack takes for text and nothing else; on one line."""
    plain = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return " ".join(plain.split())


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
