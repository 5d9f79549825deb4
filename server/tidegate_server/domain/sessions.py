"""Sessions: people who have signed in with a browser."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Session:
    """One person, signed in from one browser. The secret is in its cookie alone.

    Attributes:
        id: names it in lists; no secret.
        digest: hex HMAC-SHA256 of the secret.
        person: the id of the person.
        method: how they signed in: ``password``, ``invitation``, ``link`` or
            ``identity_provider``.
        began_ms: when they signed in.
        last_seen_ms: its last use, to about a minute.
        expires_ms: when it ends in any case.
        idle_ms: how long it may be unused.
        address: where they signed in from.
        device: the browser's description of itself, shortened.
        reference: what a provider calls the session, so that it can end it; empty: nothing.
        provider: the key of the identity provider; empty: there was none.
    """

    id: str
    digest: str = field(repr=False)
    person: str
    method: str
    began_ms: int
    last_seen_ms: int
    expires_ms: int
    idle_ms: int
    address: str = ""
    device: str = ""
    reference: str = ""
    provider: str = ""

    @property
    def ends_ms(self) -> int:
        """When it ends unless it is used."""
        return min(self.expires_ms, self.last_seen_ms + self.idle_ms)
