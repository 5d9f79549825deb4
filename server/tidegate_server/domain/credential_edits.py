"""Changes to how a person proves who they are (scope ``""``).

Nothing secret gets into the audit log: credentials and invitations are not presented there.
"""

from __future__ import annotations

from dataclasses import replace

from tidegate_server.domain.change import Audit, Change, Delete, Guard, Put, Stored
from tidegate_server.domain.people import (
    FIRST_INVITATION,
    AccessDocuments,
    Credential,
    EmailAddress,
    Invitation,
    Person,
    RoleGrant,
    credential_address,
    email_address,
    invitation_address,
    normalized_email,
    person_address,
)
from tidegate_server.domain.permissions import Role
from tidegate_server.errors import NotPossible

FIRST_GRANT = RoleGrant(Role.ADMIN.value)
"""What the first person may do."""


def put_credential(
    person: Person, before: Stored, after: Credential, *, actor: str, action: str, reason: str = ""
) -> Change:
    """Replace a person's credential.

    Args:
        person: whose it is.
        before: the credential as it was read.
        after: the new one.
        actor: who.
        action: what the audit log calls it: ``person.password``.
        reason: why.
    """
    address = credential_address(person.id)
    return Change(
        "",
        (Put(address, after, before.revision, before=before.document),),
        audit=Audit(actor, action, person.id, reason=reason, details={"email": person.email}),
    )


def invite(
    access: AccessDocuments, invitation: Invitation, *, actor: str, reason: str = ""
) -> Change:
    """Make an invitation; an earlier one for the same person stops working."""
    before = access.invitations.get(invitation.id)
    address = invitation_address(invitation.id)
    details: dict[str, object] = {}
    if (person := access.people.get(invitation.id)) is not None:
        details["email"] = person.document.email
    put = (
        Put(address, invitation, 0)
        if before is None
        else Put(address, invitation, before.revision, before=before.document)
    )
    action = "person.make_sign_in_link" if invitation.signs_in_only else "person.invite"
    audit = Audit(actor, action, invitation.id, reason=reason, details=details)
    return Change("", (put,), audit=audit)


def can_sign_in(access: AccessDocuments, person: str) -> bool:
    """Return whether a person has a password, or an identity at a provider."""
    credential: Credential = access.credentials[person].document
    identities = (each.document.person for each in access.identities.values())
    return bool(credential.password) or person in identities


def use_sign_in_link(access: AccessDocuments, link: Stored) -> tuple[Person, Change]:
    """Use up a link that only signs in.

    Raises:
        NotPossible: the person is not active any more, or can sign in otherwise by now.
    """
    id = link.document.id
    stored = access.people.get(id)
    if stored is None or not stored.document.active:
        raise NotPossible("The person whom this link is for may not sign in any more.")
    if can_sign_in(access, id):
        raise NotPossible("The person whom this link is for signs in without it by now.")
    person: Person = stored.document
    writes = (
        Delete(invitation_address(id), link.revision, before=link.document),
        # They get no password meanwhile.
        Guard(credential_address(id), access.credentials[id].revision),
    )
    audit = Audit(person.audit_name, "person.use_sign_in_link", id, details={"email": person.email})
    return person, Change("", writes, audit=audit)


def accept_invitation(
    access: AccessDocuments,
    invitation: Stored,
    *,
    name: str,
    password_hash: str,
    now_ms: int,
) -> tuple[Person, Change]:
    """Set a person's name and password; their sessions until now end.

    Returns:
        The person as they are then, and the change.

    Raises:
        NotPossible: they are not active any more.
    """
    id = invitation.document.id
    stored, credential = access.people.get(id), access.credentials.get(id)
    if stored is None or credential is None or not stored.document.active:
        raise NotPossible("The person whom this invitation is for may not sign in any more.")
    person: Person = replace(stored.document, name=name.strip() or stored.document.name)
    after = replace(credential.document, password=password_hash, sessions_from_ms=now_ms)
    writes = (
        Put(person_address(id), person, stored.revision, before=stored.document),
        Put(credential_address(id), after, credential.revision, before=credential.document),
        Delete(invitation_address(id), invitation.revision, before=invitation.document),
    )
    audit = Audit(
        person.audit_name, "person.accept_invitation", id, details={"email": person.email}
    )
    return person, Change("", writes, audit=audit)


def accept_first_invitation(
    access: AccessDocuments,
    invitation: Stored,
    person: Person,
    *,
    password_hash: str,
    now_ms: int,
) -> tuple[Person, Change]:
    """Create the first person, who administers the server.

    Raises:
        NotPossible: somebody administers the server already, or has the email.
    """
    if any(access.administers_server(each.document) for each in access.people.values()):
        raise NotPossible(
            "Somebody administers this server already; ask them for an invitation of your own."
        )
    email = normalized_email(person.email)
    if email in access.emails:
        raise NotPossible(f"A person has the email address {email} already.")
    first = replace(person, email=email, name=person.name.strip(), grants=(FIRST_GRANT,))
    credential = Credential(first.id, now_ms, password=password_hash)
    writes = (
        Put(person_address(first.id), first, 0),
        Put(credential_address(first.id), credential, 0),
        Put(email_address(email), EmailAddress(first.id), 0),
        Delete(
            invitation_address(FIRST_INVITATION), invitation.revision, before=invitation.document
        ),
    )
    audit = Audit(first.audit_name, "person.accept_invitation", first.id, details={"email": email})
    return first, Change("", writes, audit=audit)
