"""Invite people, and help those who have lost their second factor."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from tidegate_server.admin.access_documents import read_access_documents
from tidegate_server.admin.commit_with_retry import commit_with_retry
from tidegate_server.domain import credential_edits
from tidegate_server.domain.callers import Caller
from tidegate_server.domain.change import Change
from tidegate_server.domain.people import AccessDocuments, Credential, Person
from tidegate_server.domain.people_edits import require_power_over
from tidegate_server.errors import NotFound, NotPossible
from tidegate_server.store import Store
from tidegate_server.web import invitations


@dataclass(frozen=True, slots=True)
class Invited:
    """An invitation that was made; ``link`` is shown once."""

    person: Person
    link: str = field(repr=False)
    secret: str = field(repr=False)
    expires_ms: int


def invite(
    store: Store,
    secret_key: bytes,
    person: str,
    *,
    caller: Caller,
    server_url: str,
    expires_in_ms: int,
    signs_in_only: bool = False,
    reason: str = "",
) -> Invited:
    """Make an invitation for a person, with which they set a new password.

    Args:
        store: where it is kept.
        secret_key: the key of its digest.
        person: the id of the person.
        caller: who invites.
        server_url: what the link begins with.
        expires_in_ms: how long it works.
        signs_in_only: whether it begins a session and changes nothing else.
        reason: why.

    Raises:
        NotFound: there is no such person.
        Forbidden: the person may do what the caller may not, who could act as them.
        NotPossible: the person is not active, or a link that only signs in is for somebody who
            has a password or an identity already: nobody shall act as them unnoticed.
    """
    new = invitations.new_invitation(
        secret_key,
        person,
        expires_ms=store.now_ms() + expires_in_ms,
        invited_by=caller.name,
        signs_in_only=signs_in_only,
    )

    def make_change() -> Change:
        access = read_access_documents(store)
        found = required_person(access, person, caller)
        if not found.active:
            raise NotPossible(f"{found.email} is not active; make them active first.")
        if signs_in_only and credential_edits.can_sign_in(access, person):
            raise NotPossible(
                f"{found.email} can sign in already. A link that only signs in is for somebody who "
                "has no password and no identity yet; make an invitation instead."
            )
        return credential_edits.invite(access, new.invitation, actor=caller.name, reason=reason)

    commit_with_retry(store, make_change)
    link = invitations.invitation_link(server_url, new.text, signs_in_only=signs_in_only)
    invited = required_person(read_access_documents(store), person, caller)
    return Invited(invited, link, new.text, new.invitation.expires_ms)


def reset_second_factor(store: Store, person: str, *, caller: Caller, reason: str = "") -> None:
    """Remove the second factor of a person who has lost it; their sessions end.

    Raises:
        NotFound: there is no such person.
        Forbidden: the person may do what the caller may not.
    """

    def make_change() -> Change:
        access = read_access_documents(store)
        found = required_person(access, person, caller)
        stored = access.credentials[person]
        credential: Credential = stored.document
        after = replace(credential.without_second_factor(), sessions_from_ms=store.now_ms())
        return credential_edits.put_credential(
            found,
            stored,
            after,
            actor=caller.name,
            action="person.reset_second_factor",
            reason=reason,
        )

    commit_with_retry(store, make_change)


def required_person(access: AccessDocuments, id: str, caller: Caller) -> Person:
    """Return a person as whom the caller could act.

    Raises:
        NotFound: there is no such person.
        Forbidden: they may do what the caller may not.
    """
    stored = access.people.get(id)
    if stored is None or id not in access.credentials:
        raise NotFound(f"There is no person {id!r}.")
    require_power_over(access, stored.document, caller)
    person: Person = stored.document
    return person
