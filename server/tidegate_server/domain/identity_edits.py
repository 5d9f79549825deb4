"""What a sign-in with an identity provider changes (scope ``""``): who is known, and by what.

An identity, an issuer with a subject, belongs to one person for good. It gets to somebody who is
here already in two ways only: they hold an invitation, or the provider has verified their email,
speaks for its domain, and they have no other way to sign in yet. Otherwise whoever gets hold of an
email address at some provider could become somebody else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tidegate_server.domain.change import Audit, Change, Delete, Guard, Put, Stored
from tidegate_server.domain.identity_providers import IdentityProvider
from tidegate_server.domain.people import (
    AccessDocuments,
    Credential,
    EmailAddress,
    Identity,
    Person,
    ProvidedGroups,
    credential_address,
    email_address,
    identity_address,
    identity_id,
    identity_provider_address,
    invitation_address,
    person_address,
)
from tidegate_server.domain.people_edits import is_email
from tidegate_server.errors import SignInRefused

ANOTHER_PERSON = (
    "This account at {} belongs to another person here. Sign out there, or ask an admin."
)
NOT_ACTIVE = "Your account here is not active any more. Ask an admin."


@dataclass(frozen=True, slots=True)
class Presented:
    """What a provider says about somebody who signs in with it.

    Attributes:
        subject: how its issuer names them, for good.
        email: in lower case; empty: it does not say.
        email_verified: whether it says that it has checked the email.
        name: fit for the audit log.
        groups: all their groups there.
    """

    subject: str
    email: str
    email_verified: bool
    name: str
    groups: frozenset[str]


def sign_in_change(
    access: AccessDocuments,
    provider: Stored,
    presented: Presented,
    *,
    new_person: str,
    now_ms: int,
    invitation: Stored | None = None,
) -> tuple[Person, Change]:
    """Return who signs in, and what that changes; it may only guard what was read.

    Args:
        access: who is here.
        provider: the identity provider, as it was read.
        presented: what it says.
        new_person: the id of the person, if they are created.
        now_ms: when.
        invitation: an invitation whose secret the browser had; None: it had none.

    Raises:
        SignInRefused: nobody signs in; the message says what to do.
    """
    settings: IdentityProvider = provider.document
    id = identity_id(settings.issuer, presented.subject)
    known = access.identities.get(id)
    if known is not None:
        if invitation is not None and invitation.document.id != known.document.person:
            raise SignInRefused(ANOTHER_PERSON.format(settings.title))
        return _known_person(access, provider, presented, id, invitation)
    person = (
        _by_email(access, settings, presented)
        if invitation is None
        else _active(access, invitation.document.id)
    )
    identity = Identity(
        id, person.id if person else new_person, settings.issuer, presented.subject, now_ms
    )
    link = Put(identity_address(id), identity, 0)
    if person is None:
        return _new_person(access, provider, presented, link, now_ms)
    return _linked_person(access, provider, presented, person, link, now_ms)


def unlink(
    access: AccessDocuments, person: Person, id: str, *, actor: str, now_ms: int, reason: str = ""
) -> Change | None:
    """Return the change after which an identity is not a person's any more, who is signed out.

    None: it is not theirs now. The caller has checked that the actor may do it.
    """
    stored, credential = access.identities.get(id), access.credentials.get(person.id)
    if stored is None or stored.document.person != person.id or credential is None:
        return None
    identity: Identity = stored.document
    left = tuple(each for each in person.provided if each.issuer != identity.issuer)
    before = access.people[person.id]
    ended = replace(credential.document, sessions_from_ms=now_ms)
    writes = (
        Delete(identity_address(id), stored.revision, before=identity),
        Put(credential_address(person.id), ended, credential.revision, before=credential.document),
        Put(
            person_address(person.id),
            replace(person, provided=left),
            before.revision,
            before=before.document,
        ),
    )
    details = {"email": person.email, "issuer": identity.issuer}
    return Change("", writes, audit=Audit(actor, "person.unlink", person.id, "", reason, details))


def _known_person(
    access: AccessDocuments,
    provider: Stored,
    presented: Presented,
    identity: str,
    invitation: Stored | None,
) -> tuple[Person, Change]:
    person = _active(access, access.identities[identity].document.person)
    after = _with_groups(access, person, provider.document, presented)
    guards = (
        _guard(provider),
        Guard(identity_address(identity), access.identities[identity].revision),
    )
    writes: list[Put | Delete] = []
    if after.provided != person.provided:
        writes.append(_put_person(access, after))
    if invitation is not None:
        writes.append(_used(invitation))
    if not writes:
        return after, Change("", guards)
    verb = "update_groups" if invitation is None else "accept_invitation"
    return after, Change("", (*writes, *guards), audit=_audit(after, verb, provider))


def _new_person(
    access: AccessDocuments, provider: Stored, presented: Presented, link: Put, now_ms: int
) -> tuple[Person, Change]:
    id = link.document.person
    new = Person(id, presented.email, presented.name)
    new = _with_groups(access, new, provider.document, presented)
    writes = (
        Put(person_address(id), new, 0),
        Put(credential_address(id), Credential(id, now_ms), 0),
        Put(email_address(new.email), EmailAddress(id), 0),
        link,
        _guard(provider),
    )
    return new, Change("", writes, audit=_audit(new, "join", provider))


def _linked_person(
    access: AccessDocuments,
    provider: Stored,
    presented: Presented,
    person: Person,
    link: Put,
    now_ms: int,
) -> tuple[Person, Change]:
    """Link an identity to a person; the sessions that they had end."""
    named = replace(person, name=person.name or presented.name)
    after = _with_groups(access, named, provider.document, presented)
    credential = access.credentials[person.id]
    ended = replace(credential.document, sessions_from_ms=now_ms)
    writes: list[Put | Delete | Guard] = [
        link,
        Put(credential_address(person.id), ended, credential.revision, before=credential.document),
        _put_person(access, after),
        _guard(provider),
    ]
    invited = access.invitations.get(person.id)
    if invited is not None:
        writes.append(_used(invited))
    return after, Change("", tuple(writes), audit=_audit(after, "link", provider))


def _by_email(
    access: AccessDocuments, provider: IdentityProvider, presented: Presented
) -> Person | None:
    """Return the person whom a provider's word about an email is enough for; None: somebody new.

    Raises:
        SignInRefused: nobody may sign in.
    """
    email, title = presented.email, provider.title
    if not is_email(email):
        raise SignInRefused(
            f"{title} does not say your email, so nobody knows who you are here. Ask an admin to "
            "invite you, or to add the scope email."
        )
    address = access.emails.get(email)
    if address is None:
        _check_may_join(provider, presented)
        return None
    person = _active(access, address.document.person)
    credential: Credential = access.credentials[person.id].document
    signs_in = bool(credential.password) or any(
        each.document.person == person.id for each in access.identities.values()
    )
    if signs_in or not presented.email_verified or not provider.vouches_for(email):
        raise SignInRefused(
            f"There is an account for {email}, and it does not sign in with this account at "
            f"{title} yet. Sign in as before, or ask an admin for an invitation: open it, and "
            f"choose {title} there."
        )
    return person


def _check_may_join(provider: IdentityProvider, presented: Presented) -> None:
    email, title = presented.email, provider.title
    if not provider.create_people or not provider.vouches_for(email):
        raise SignInRefused(
            f"There is no account for {email} here. Ask an admin to invite you, or to let "
            f"people with such an email join with {title}."
        )
    if provider.require_verified_email and not presented.email_verified:
        raise SignInRefused(
            f"{title} has not verified the email {email}, so it cannot be yours here. Verify it "
            f"at {title}, or ask an admin to invite you."
        )


def _active(access: AccessDocuments, id: str) -> Person:
    stored = access.people.get(id)
    if stored is None or id not in access.credentials or not stored.document.active:
        raise SignInRefused(NOT_ACTIVE)
    person: Person = stored.document
    return person


def _with_groups(
    access: AccessDocuments, person: Person, provider: IdentityProvider, presented: Presented
) -> Person:
    """Return a person with what a provider says now, and nothing of providers that are gone."""
    others = (
        each
        for each in person.provided
        if each.provider != provider.key
        and (stored := access.providers.get(each.provider)) is not None
        and stored.document.issuer == each.issuer
    )
    groups = provider.mapped(presented.groups)
    own = (ProvidedGroups(provider.key, provider.issuer, groups),) if groups else ()
    return replace(person, provided=(*others, *own))


def _put_person(access: AccessDocuments, after: Person) -> Put:
    before = access.people[after.id]
    return Put(person_address(after.id), after, before.revision, before=before.document)


def _used(invitation: Stored) -> Delete:
    address = invitation_address(invitation.document.id)
    return Delete(address, invitation.revision, before=invitation.document)


def _guard(provider: Stored) -> Guard:
    return Guard(identity_provider_address(provider.document.key), provider.revision)


def _audit(person: Person, verb: str, provider: Stored) -> Audit:
    details = {"email": person.email, "provider": provider.document.key}
    return Audit(person.audit_name, f"person.{verb}", person.id, details=details)
