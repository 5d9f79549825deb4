"""Webhooks: where a project's policies tell others what happened, and ask before they go on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from tidegate_server.domain.policy import HOUR, SECOND

SHORTEST_TIMEOUT_MS = 500
LONGEST_TIMEOUT_MS = 30 * SECOND
RETIRING_MS = 24 * HOUR
"""How long the secret before a rotation signs along, so that a receiver can follow."""


class Format(StrEnum):
    """What is sent: the documented JSON, or what Slack's incoming webhooks read."""

    JSON = "json"
    SLACK = "slack"


@dataclass(frozen=True, slots=True)
class Webhook:
    """An address that policies name by its key.

    Attributes:
        url: where requests go. Its path may be a credential, as with Slack.
        secret_id: what the signing secret is derived from, together with the server's
            secret key; by itself it is worth nothing.
        timeout_ms: how long one request may take altogether.
        retiring_id: the secret before this one, which signs along until ``retires_ms``.
    """

    key: str
    url: str
    secret_id: str
    format: Format = Format.JSON
    enabled: bool = True
    timeout_ms: int = 5 * SECOND
    name: str = ""
    description: str = ""
    retiring_id: str | None = None
    retires_ms: int = 0

    def secret_ids(self, now_ms: int) -> tuple[str, ...]:
        """The ids of the secrets that sign now, the present one first."""
        if self.retiring_id is not None and now_ms < self.retires_ms:
            return (self.secret_id, self.retiring_id)
        return (self.secret_id,)

    @property
    def origin(self) -> str:
        """Scheme and host of the address: what of it may stand in logs."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"
