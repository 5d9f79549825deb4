"""People, groups and roles: who may do what.

A person has grants of their own and those of their groups. A grant gives a role in a place: the
whole server, a project, or an environment of a project.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tidegate_server.domain.callers import Caller
from tidegate_server.domain.change import Address, Stored
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.permissions import PERMISSIONS, Grant, Permission, Role
from tidegate_server.domain.tokens import Token

PEOPLES_ROLES = (Role.ADMIN, Role.RELEASE_MANAGER, Role.DEVELOPER, Role.RESPONDER, Role.VIEWER)
"""The built-in roles that people and groups may have."""


@dataclass(frozen=True, slots=True)
class RoleGrant:
    """A role in a place.

    Attributes:
        role: one of ``PEOPLES_ROLES``, or the key of a custom role.
        project: the only project; None: the whole server.
        environment: the only environment of the project; None: all of them.
    """

    role: str
    project: str | None = None
    environment: str | None = None


@dataclass(frozen=True, slots=True)
class ProvidedGroups:
    """In which groups a person was at an identity provider when they last signed in with it.

    What the groups give is said by the provider's mapping, so that a change of it counts at once.

    Attributes:
        provider: the key of the identity provider.
        issuer: its issuer. If the provider has another one now, these groups do not count.
        groups: the provider's own names of the groups, of those that its mapping named then.
    """

    provider: str
    issuer: str
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who may sign in.

    Attributes:
        id: never changes.
        email: in lower case; no two people have the same.
        name: what others see.
        active: whether they may sign in and use their tokens.
        grants: what they may do, besides what their groups may.
        groups: the keys of their groups.
        provided: what identity providers said about them; nobody edits it.
    """

    id: str
    email: str
    name: str = ""
    active: bool = True
    grants: tuple[RoleGrant, ...] = ()
    groups: tuple[str, ...] = ()
    provided: tuple[ProvidedGroups, ...] = ()

    @property
    def audit_name(self) -> str:
        """The name in the audit log: ``Ada (ada@example.com)``."""
        return f"{self.name or self.email} ({self.email})"


@dataclass(frozen=True, slots=True)
class Group:
    """People who may do the same things."""

    key: str
    name: str = ""
    description: str = ""
    grants: tuple[RoleGrant, ...] = ()


@dataclass(frozen=True, slots=True)
class CustomRole:
    """A named set of permissions, besides the built-in roles."""

    key: str
    permissions: tuple[Permission, ...]
    name: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Credential:
    """How a person proves who they are. It is shown to nobody.

    Attributes:
        person: the person's id.
        sessions_from_ms: sessions that began earlier have ended.
        password: the Argon2id hash of the password; empty: there is none.
        totp_salt: the secret of the one-time codes is derived from it and the server's secret
            key; empty: there is none.
        totp_confirmed: whether signing in needs a one-time code.
        totp_step: the time step of the last code that was used; no code works twice.
        recovery_codes: the digests of the recovery codes that were not used yet.
    """

    person: str
    sessions_from_ms: int
    password: str = field(default="", repr=False)
    totp_salt: str = field(default="", repr=False)
    totp_confirmed: bool = False
    totp_step: int = 0
    recovery_codes: tuple[str, ...] = field(default=(), repr=False)

    def without_second_factor(self) -> Credential:
        """Return it without one-time codes and recovery codes."""
        return replace(self, totp_salt="", totp_confirmed=False, totp_step=0, recovery_codes=())


@dataclass(frozen=True, slots=True)
class EmailAddress:
    """Whose email address it is. It keeps two people from having the same one."""

    person: str


@dataclass(frozen=True, slots=True)
class Invitation:
    """A link with which somebody sets a password, or only signs in, once.

    Its secret is not stored.

    Attributes:
        id: the id of the person it is for; ``FIRST_INVITATION``: the first person, who does not
            exist yet.
        digest: of the secret.
        expires_ms: when it stops working.
        invited_by: who made it, as in the audit log.
        signs_in_only: whether it begins a session and changes nothing else.
    """

    id: str
    digest: str = field(repr=False)
    expires_ms: int = 0
    invited_by: str = ""
    signs_in_only: bool = False


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a person is at an issuer. It lets them sign in with an identity provider.

    Attributes:
        id: made from the issuer and the subject; no two people have the same.
        person: the id of the person.
        issuer, subject: how the issuer names them, for good.
        linked_ms: since when.
    """

    id: str
    person: str
    issuer: str
    subject: str
    linked_ms: int


FIRST_INVITATION = "first"


def person_address(id: str) -> Address:
    """Return the address of a person."""
    return Address(Kind.PERSON, id)


def group_address(key: str) -> Address:
    """Return the address of a group."""
    return Address(Kind.GROUP, key)


def role_address(key: str) -> Address:
    """Return the address of a custom role."""
    return Address(Kind.ROLE, key)


def credential_address(person: str) -> Address:
    """Return the address of a person's credential."""
    return Address(Kind.CREDENTIAL, person)


def email_address(email: str) -> Address:
    """Return the address of the document that says whose an email address is."""
    return Address(Kind.EMAIL, email)


def invitation_address(id: str) -> Address:
    """Return the address of an invitation."""
    return Address(Kind.INVITATION, id)


def identity_provider_address(key: str) -> Address:
    """Return the address of an identity provider."""
    return Address(Kind.IDENTITY_PROVIDER, key)


def identity_address(id: str) -> Address:
    """Return the address of an identity."""
    return Address(Kind.IDENTITY, id)


def identity_id(issuer: str, subject: str) -> str:
    """Return the id of the identity with a subject at an issuer: 40 hex digits."""
    return hashlib.sha256(f"{len(issuer)} {issuer} {subject}".encode()).hexdigest()[:40]


def normalized_email(text: str) -> str:
    """Return an email address as it is stored and compared."""
    return text.strip().lower()


@dataclass(frozen=True, slots=True)
class AccessDocuments:
    """Every document that says who may do what, by key."""

    people: Mapping[str, Stored] = field(default_factory=dict)
    groups: Mapping[str, Stored] = field(default_factory=dict)
    roles: Mapping[str, Stored] = field(default_factory=dict)
    credentials: Mapping[str, Stored] = field(default_factory=dict)
    emails: Mapping[str, Stored] = field(default_factory=dict)
    invitations: Mapping[str, Stored] = field(default_factory=dict)
    tokens: Mapping[str, Stored] = field(default_factory=dict)
    providers: Mapping[str, Stored] = field(default_factory=dict)
    identities: Mapping[str, Stored] = field(default_factory=dict)

    def get(self, address: Address) -> Stored | None:
        """Return a document; None if there is none."""
        by_kind: Mapping[Kind, Mapping[str, Stored]] = {
            Kind.PERSON: self.people,
            Kind.GROUP: self.groups,
            Kind.ROLE: self.roles,
            Kind.CREDENTIAL: self.credentials,
            Kind.EMAIL: self.emails,
            Kind.INVITATION: self.invitations,
            Kind.TOKEN: self.tokens,
            Kind.IDENTITY_PROVIDER: self.providers,
            Kind.IDENTITY: self.identities,
        }
        return by_kind[address.kind].get(address.key)

    def permissions(self, role: str) -> frozenset[Permission] | None:
        """Return the permissions of a role that people may have; None: there is no such role."""
        if role in PEOPLES_ROLES:
            return PERMISSIONS[Role(role)]
        stored = self.roles.get(role)
        return None if stored is None else frozenset(stored.document.permissions)

    def resolved(self, grants: tuple[RoleGrant, ...]) -> tuple[Grant, ...]:
        """Return what roles in places allow; a role that does not exist allows nothing."""
        return tuple(
            Grant(self.permissions(each.role) or frozenset(), *_place(each), each.role)
            for each in grants
        )

    def grants_of(self, person: Person) -> tuple[Grant, ...]:
        """Return what a person may do, their groups included, whether or not they are active."""
        mapped = list(self._mapped(person))
        keys = dict.fromkeys((*person.groups, *(key for each in mapped for key in each.groups)))
        of_groups = tuple(
            grant
            for key in keys
            if key in self.groups
            for grant in self.resolved(self.groups[key].document.grants)
        )
        of_providers = (grant for each in mapped for grant in self.resolved(each.grants))
        return (*self.resolved(person.grants), *of_groups, *of_providers)

    def groups_of(self, person: Person) -> tuple[str, ...]:
        """Return the keys of a person's groups, with those that identity providers give them."""
        mapped = (key for each in self._mapped(person) for key in each.groups)
        return tuple(dict.fromkeys((*person.groups, *mapped)))

    def _mapped(self, person: Person) -> Iterator[Any]:
        """Yield the group mappings of identity providers that apply to a person now."""
        for provided in person.provided:
            stored = self.providers.get(provided.provider)
            if stored is None or stored.document.issuer != provided.issuer:
                continue
            if stored.document.enabled:
                for mapping in stored.document.group_mappings:
                    if mapping.provider_group in provided.groups:
                        yield mapping

    def caller(self, person: Person) -> Caller:
        """Return the caller that a person is."""
        return Caller(
            id=person.id,
            name=person.audit_name,
            known_as=person.email,
            grants=self.grants_of(person),
            answerable=person.id,
            person=person.id,
        )

    def administers_server(self, person: Person) -> bool:
        """Return whether a person may administer the whole server now."""
        return person.active and any(grant.administers_server for grant in self.grants_of(person))


ACCESS_KINDS = (
    *(Kind.PERSON, Kind.GROUP, Kind.ROLE),
    *(Kind.CREDENTIAL, Kind.EMAIL, Kind.INVITATION, Kind.TOKEN),
    *(Kind.IDENTITY_PROVIDER, Kind.IDENTITY),
)
"""The kinds of documents in ``AccessDocuments``, in the order of its fields."""


def _place(grant: RoleGrant) -> tuple[str | None, str | None]:
    return grant.project, grant.environment


def personal_caller(token: Token, person: Person, access: AccessDocuments) -> Caller:
    """Return the caller that a person's own token stands for.

    It may do what both the token and the person may do at present.
    """
    own = access.grants_of(person)
    return Caller(
        id=token.id,
        name=f"{person.audit_name} by token {token.name} ({token.id})",
        known_as=person.email,
        grants=tuple(shared for each in own if (shared := _shared(token.grant, each)) is not None),
        answerable=person.id,
        person=person.id,
    )


def _shared(one: Grant, other: Grant) -> Grant | None:
    """Return what two grants both allow; None: they have no place in common."""
    permissions = one.permissions & other.permissions
    if one.covers(other.project, other.environment):
        return Grant(permissions, other.project, other.environment, other.role)
    if other.covers(one.project, one.environment):
        return Grant(permissions, one.project, one.environment, other.role)
    return None
