"""People: who may sign in, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from flask import Response

from tidegate_server.admin.access_documents import (
    check_grants_exist,
    present_access,
    present_identities,
    read_access_documents,
)
from tidegate_server.admin.document_resource import DocumentResource
from tidegate_server.admin.people import identities, invitations
from tidegate_server.admin.people.schemas import (
    InviteBody,
    InvitedAnswer,
    PersonAnswer,
    PersonBody,
    PersonPage,
    PersonUpdate,
)
from tidegate_server.domain import people_edits
from tidegate_server.domain.change import Change, Stored
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.people import AccessDocuments, Credential, Identity, Person
from tidegate_server.domain.permissions import Permission
from tidegate_server.errors import NotPossible
from tidegate_server.web import responses
from tidegate_server.web.backend import backend, current_caller, public_address
from tidegate_server.web.blueprint import SERVER_PREFIX, Blueprint
from tidegate_server.web.reasons import current_reason

blueprint = Blueprint("people", __name__, description="Who may sign in, and what they may do")


@dataclass(frozen=True, slots=True)
class VisiblePerson(Stored):
    """A stored person as the caller may see them, and how they sign in."""

    has_password: bool
    has_second_factor: bool
    identities: tuple[Identity, ...]
    manageable: bool


def visible_person(stored: Stored) -> Stored:
    """Return a person as the caller may see them."""
    access = present_access(backend().store)
    person = people_edits.visible_person(access, stored.document, current_caller())
    kept = access.credentials.get(person.id)
    credential: Credential | None = kept.document if kept is not None else None
    return VisiblePerson(
        person,
        stored.revision,
        stored.updated_ms,
        has_password=credential is not None and bool(credential.password),
        has_second_factor=credential is not None and credential.totp_confirmed,
        identities=present_identities(access).get(person.id, ()),
        manageable=people_edits.has_power_over(access, stored.document, current_caller()),
    )


people = DocumentResource(
    blueprint,
    Kind.PERSON,
    PersonAnswer,
    PersonPage,
    editor=Permission.ADMINISTER,
    key_field="id",
    visible=visible_person,
    prefix=SERVER_PREFIX,
    reader=Permission.ADMINISTER,
    read_documents=read_access_documents,
    scoped_to_caller=True,
)


def put_person(access: AccessDocuments, person: Person, *, actor: str, reason: str) -> Change:
    """Return the change that creates or replaces a person now."""
    store, caller = backend().store, current_caller()
    check_grants_exist(store, person.grants)
    return people_edits.put_person(
        access, person, caller=caller, now_ms=store.now_ms(), reason=reason
    )


def delete_person(access: AccessDocuments, id: str, *, actor: str, reason: str) -> Change:
    """Return the change that deletes a person."""
    return people_edits.delete_person(access, id, caller=current_caller(), reason=reason)


people.serve_list("List people, with the grants and groups that you may change.")
people.serve_create(
    PersonBody,
    put_person,
    """Create a person.

    They cannot sign in before they accept an invitation. You can give what you have yourself in
    places that you administer.
    """,
)
people.serve_get("Get a person.")
people.serve_replace(
    PersonUpdate,
    put_person,
    """Replace a person.

    Grants and groups that you may not see stay as they are. A person who is no longer active is
    signed out everywhere within two seconds, and their own tokens stop working.
    """,
)
people.serve_delete(delete_person, "Delete a person, and their own tokens with them.")
people.serve_history(put_person, put_person)


@blueprint.operation(
    "POST",
    f"{people.item}/invitation",
    permission=Permission.ADMINISTER,
    scoped_to_caller=True,
    body=InviteBody,
    response=InvitedAnswer,
    status=HTTPStatus.CREATED,
    etag=False,
)
def invite_person(given: dict[str, Any], person: str) -> Response:
    """Invite a person: make a link with which they set a password and sign in.

    The link works once. An earlier link for this person stops working. For a person who has a
    password, it replaces one that was lost. With `signs_in_only` the link changes no password.
    """
    services = backend()
    if given["signs_in_only"] and not services.settings.password_sign_in:
        raise NotPossible("People sign in here with an identity provider only, not with a link.")
    invited = invitations.invite(
        services.store,
        services.settings.secret_key,
        person,
        caller=current_caller(),
        server_url=public_address(),
        expires_in_ms=given["expires_in"],
        signs_in_only=given["signs_in_only"],
        reason=current_reason(),
    )
    response = responses.value(InvitedAnswer(), invited)
    response.status_code = HTTPStatus.CREATED
    return response


@blueprint.operation(
    "DELETE",
    f"{people.item}/identities/<key:identity>",
    permission=Permission.ADMINISTER,
    scoped_to_caller=True,
    response=None,
    status=HTTPStatus.NO_CONTENT,
    etag=False,
)
def unlink_identity(person: str, identity: str) -> Response:
    """Make an identity nobody's: it signs them in no more. Their sessions end."""
    identities.unlink(
        backend().store, person, identity, caller=current_caller(), reason=current_reason()
    )
    return responses.no_content()


@blueprint.operation(
    "DELETE",
    f"{people.item}/second-factor",
    permission=Permission.ADMINISTER,
    scoped_to_caller=True,
    response=None,
    status=HTTPStatus.NO_CONTENT,
    etag=False,
)
def reset_second_factor(person: str) -> Response:
    """Remove the second factor of a person who has lost it. Their sessions end."""
    reason = current_reason()
    invitations.reset_second_factor(backend().store, person, caller=current_caller(), reason=reason)
    return responses.no_content()
