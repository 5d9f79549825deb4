"""Identity providers: servers of a company with which its people sign in, by OpenID Connect."""

from __future__ import annotations

from dataclasses import dataclass, field

from tidegate_server.domain.people import RoleGrant

DEFAULT_SCOPES = ("openid", "email", "profile")
OPENID = "openid"


@dataclass(frozen=True, slots=True)
class GroupMapping:
    """What the members of one group of a provider get.

    Attributes:
        provider_group: the group, as the provider names it in its claim.
        groups: the keys of the groups of this server whose members they are.
        grants: what else they may do.
    """

    provider_group: str
    groups: tuple[str, ...] = ()
    grants: tuple[RoleGrant, ...] = ()


@dataclass(frozen=True, slots=True)
class IdentityProvider:
    """A server that says who somebody is.

    Attributes:
        key: part of the addresses that the provider has to know.
        issuer: its own name for itself, exactly; its settings are found below it.
        client_id: what the provider calls this server.
        name: on the button of the sign-in page; empty: the key.
        enabled: whether people sign in with it, and whether its mappings give anything.
        scopes: what to ask for.
        groups_claim: where the groups of a person are; a name with dots may be a path.
        group_mappings: what groups give.
        create_people: whether people who are not here yet are created when they sign in.
        email_domains: people with an email in one of these are created, or known by their email
            when they sign in for the first time. Empty: nobody is.
        require_verified_email: whether somebody is created only if the provider says that it has
            checked the email. Somebody who is here is never known by an unchecked email.
        sealed_client_secret: the secret that the provider gave, sealed; empty: it gave none.
        sessions_from_ms: sessions with this provider that began earlier have ended.
    """

    key: str
    issuer: str
    client_id: str
    name: str = ""
    enabled: bool = True
    scopes: tuple[str, ...] = DEFAULT_SCOPES
    groups_claim: str = "groups"
    group_mappings: tuple[GroupMapping, ...] = ()
    create_people: bool = False
    email_domains: tuple[str, ...] = ()
    require_verified_email: bool = True
    sealed_client_secret: str = field(default="", repr=False)
    sessions_from_ms: int = 0

    @property
    def title(self) -> str:
        """What people call it."""
        return self.name or self.key

    def vouches_for(self, email: str) -> bool:
        """Return whether an email is in a domain for which the provider speaks."""
        return email.rpartition("@")[2] in self.email_domains

    def mapped(self, groups: frozenset[str]) -> tuple[str, ...]:
        """Return those of a person's groups at the provider that the mapping names."""
        return tuple(
            each.provider_group for each in self.group_mappings if each.provider_group in groups
        )
