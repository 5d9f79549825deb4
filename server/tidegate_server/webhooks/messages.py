"""The requests to webhooks: JSON as in docs/webhooks.md, or what a chat reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from tidegate.version import VERSION

from tidegate_server.domain.calendar import instant_text
from tidegate_server.domain.release_events import ReleaseEvent, ReleaseSummary
from tidegate_server.domain.webhooks import Format, Webhook
from tidegate_server.webhooks.chat_bodies import discord_body, slack_body, teams_body
from tidegate_server.webhooks.mail import mail_text
from tidegate_server.webhooks.notices import event_notice, event_page
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


CHATS = {
    Format.SLACK: slack_body,
    Format.TEAMS: teams_body,
    Format.DISCORD: discord_body,
}


def event_body(
    format: Format, project: str, id: str, event: ReleaseEvent, public_url: str = ""
) -> bytes:
    """Return the body of a request about an event, in a webhook's format.

    Args:
        format: of a request; mail is made by ``mail.mail_message``.
        project: the key of the project.
        id: the message's id.
        event: what happened.
        public_url: where people open the dashboard; empty: there are no links to it.
    """
    if format in CHATS:
        return _json(CHATS[format](event_notice(project, event, public_url)))
    return _json(
        {
            "id": id,
            "event": event.event,
            "at": instant_text(event.at_ms),
            "project": project,
            "environment": event.environment,
            "actor": event.actor,
            "reason": event.reason,
            "url": event.url,
            "page": event_page(project, event, public_url),
            "flag": event.about,
            "release": asdict(event.release) if event.release is not None else None,
        }
    )


def shown_body(
    webhook: Webhook, project: str, id: str, event: ReleaseEvent, public_url: str = ""
) -> str:
    """Return what a webhook is sent about an event, as people read it; of mail, its text."""
    if webhook.format is Format.EMAIL:
        return mail_text(event_notice(project, event, public_url))
    return event_body(webhook.format, project, id, event, public_url).decode()


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


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
