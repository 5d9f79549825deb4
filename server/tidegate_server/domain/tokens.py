"""Access tokens."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate_server.domain.permissions import PERMISSIONS, Grant, Permission, Role, in_order


@dataclass(frozen=True, slots=True)
class Token:
    """An access token, stored without its secret.

    Attributes:
        role: ``admin`` may also create tokens and projects. ``client`` is for pages and apps,
            whose users can read the token: it evaluates the flags that are available to
            clients, and nothing else.
        digest: hex HMAC-SHA256 of the secret.
        project: limits the token to one project; None: all.
        environment: limits it to one environment of the project. A token with the role
            ``sdk`` or ``client`` has a project and an environment.
        rate_limit: how many evaluation requests a minute are allowed; None: any number.
        permissions: of a token with the role ``custom``: what it may do.
        owner: who answers for the token: a person or a team.
        expires_ms: when it stops working; None: never.
        networks: the only networks from which it may be used, in CIDR form; empty: any.
        previous_digest: the digest of the secret before the last rotation.
        previous_until_ms: how long that secret still works; None: there is none.
        made_by: the id of the person who made it, and answers for what is done with it; empty:
            no person is known.
        person: the id of the person whose own token it is: it can do no more than they can, and
            ends with them; empty: it belongs to nobody.
    """

    id: str
    name: str
    role: Role
    digest: str
    created_by: str
    created_ms: int
    project: str | None = None
    environment: str | None = None
    rate_limit: int | None = None
    permissions: tuple[Permission, ...] = ()
    owner: str = ""
    expires_ms: int | None = None
    networks: tuple[str, ...] = ()
    previous_digest: str = ""
    previous_until_ms: int | None = None
    made_by: str = ""
    person: str = ""

    @property
    def grant(self) -> Grant:
        """What it may do, and where."""
        own = frozenset(self.permissions) if self.role is Role.CUSTOM else PERMISSIONS[self.role]
        return Grant(own, self.project, self.environment, self.role.value)

    @property
    def allowed(self) -> tuple[Permission, ...]:
        """What it may do, in order."""
        return in_order(self.grant.permissions)

    def has_expired(self, now_ms: int) -> bool:
        """Return whether it no longer works."""
        return self.expires_ms is not None and now_ms >= self.expires_ms

    def digests(self, now_ms: int) -> tuple[str, ...]:
        """Return the digests of the secrets that work now."""
        if self.previous_until_ms is None or now_ms >= self.previous_until_ms:
            return (self.digest,)
        return (self.digest, self.previous_digest)


@dataclass(frozen=True, slots=True)
class TokenUse:
    """The last use of a token, to about a minute: when, and from which address."""

    at_ms: int
    address: str
