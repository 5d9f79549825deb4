"""Webhooks: URLs that policies notify of events, or ask for confirmations.

A webhook in the format ``email`` has addresses instead: ``mailto:oncall@example.com``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from tidegate_server.domain.policy import HOUR, SECOND

MIN_TIMEOUT_MS = 500
MAX_TIMEOUT_MS = 30 * SECOND
RETIRING_MS = 24 * HOUR
"""How long the old secret still signs after a rotation, so that receivers can switch."""


MAILTO = "mailto:"
MAX_RECIPIENTS = 20


class Format(StrEnum):
    """The format of messages: the documented JSON, that of a chat, or mail."""

    JSON = "json"
    SLACK = "slack"
    TEAMS = "teams"
    DISCORD = "discord"
    EMAIL = "email"

    @property
    def can_confirm(self) -> bool:
        """Whether a receiver can answer a request for confirmation."""
        return self is Format.JSON


@dataclass(frozen=True, slots=True)
class Webhook:
    """A URL that policies name by its key.

    Attributes:
        url: where messages go. Its path may be a credential, as with Slack.
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
    def recipients(self) -> tuple[str, ...]:
        """The addresses of mail; empty in other formats."""
        if not self.url.startswith(MAILTO):
            return ()
        return tuple(each.strip() for each in self.url[len(MAILTO) :].split(","))

    @property
    def origin(self) -> str:
        """The scheme and host of the URL: the part that logs may contain."""
        if self.recipients:
            hosts = dict.fromkeys(each.rpartition("@")[2] for each in self.recipients)
            return MAILTO + ",".join(hosts)
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"
