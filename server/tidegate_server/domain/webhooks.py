"""Webhooks: URLs that policies notify of events, or ask for confirmations."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from tidegate_server.domain.policy import HOUR, SECOND

MIN_TIMEOUT_MS = 500
MAX_TIMEOUT_MS = 30 * SECOND
RETIRING_MS = 24 * HOUR
"""How long the old secret still signs after a rotation, so that receivers can switch."""


class Format(StrEnum):
    """The format of messages: the documented JSON, or that of Slack's incoming webhooks."""

    JSON = "json"
    SLACK = "slack"


@dataclass(frozen=True, slots=True)
class Webhook:
    """A URL that policies name by its key.

    Attributes:
        url: where requests go. Its path may be a credential, as with Slack.
        secret_id: the signing secret is derived from this id and the server's secret key; the
            id alone is useless.
        timeout_ms: the time limit of one whole request.
        retiring_id: the id of the secret before a rotation, which signs until ``retires_ms``.
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
        """Return the ids of the secrets that sign now, the present one first."""
        if self.retiring_id is not None and now_ms < self.retires_ms:
            return (self.secret_id, self.retiring_id)
        return (self.secret_id,)

    @property
    def origin(self) -> str:
        """The scheme and host of the URL: the part that logs may contain."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"
