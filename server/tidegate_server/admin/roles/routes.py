"""Custom roles: named sets of permissions, besides the built-in ones."""

from __future__ import annotations

from tidegate_server.admin.access_documents import read_access_documents
from tidegate_server.admin.document_resource import DocumentResource
from tidegate_server.admin.roles.schemas import RoleAnswer, RoleBody, RolePage, RoleUpdate
from tidegate_server.domain import people_edits
from tidegate_server.domain.change import Change
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.people import AccessDocuments, CustomRole
from tidegate_server.domain.permissions import Permission
from tidegate_server.web.backend import current_caller
from tidegate_server.web.blueprint import SERVER_PREFIX, Blueprint

blueprint = Blueprint("roles", __name__, description="Named sets of permissions")

roles = DocumentResource(
    blueprint,
    Kind.ROLE,
    RoleAnswer,
    RolePage,
    editor=Permission.ADMINISTER,
    prefix=SERVER_PREFIX,
    reader=Permission.ADMINISTER,
    read_documents=read_access_documents,
    scoped_to_caller=True,
)


def put_role(access: AccessDocuments, role: CustomRole, *, actor: str, reason: str) -> Change:
    """Return the change that creates or replaces a custom role."""
    return people_edits.put_role(access, role, caller=current_caller(), reason=reason)


def delete_role(access: AccessDocuments, key: str, *, actor: str, reason: str) -> Change:
    """Return the change that deletes a custom role."""
    return people_edits.delete_role(access, key, caller=current_caller(), reason=reason)


roles.serve_list("List the custom roles.")
roles.serve_create(
    RoleBody, put_role, "Create a role, with permissions that you have in the whole server."
)
roles.serve_get("Get a custom role.")
roles.serve_replace(
    RoleUpdate, put_role, "Replace a role, within two seconds for everybody who has it."
)
roles.serve_delete(delete_role, "Delete a role that nobody has.")
roles.serve_history(put_role, put_role)
