"""Groups: people who may do the same things."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tidegate_server.admin.access_documents import (
    check_grants_exist,
    present_access,
    read_access_documents,
)
from tidegate_server.admin.document_resource import DocumentResource
from tidegate_server.admin.groups.schemas import GroupAnswer, GroupBody, GroupPage, GroupUpdate
from tidegate_server.domain import people_edits
from tidegate_server.domain.change import Change, Stored
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.people import AccessDocuments, Group
from tidegate_server.domain.permissions import Permission
from tidegate_server.web.backend import backend, current_caller
from tidegate_server.web.blueprint import SERVER_PREFIX, Blueprint

blueprint = Blueprint("groups", __name__, description="People who may do the same things")


@dataclass(frozen=True, slots=True)
class VisibleGroup(Stored):
    """A stored group as the caller may see it."""

    manageable: bool


def visible_group(stored: Stored) -> Stored:
    """Return a group as the caller may see it."""
    access, caller = present_access(backend().store), current_caller()
    return VisibleGroup(
        people_edits.visible_group(stored.document, caller),
        stored.revision,
        stored.updated_ms,
        manageable=people_edits.has_power_over(access, stored.document, caller),
    )


groups = DocumentResource(
    blueprint,
    Kind.GROUP,
    GroupAnswer,
    GroupPage,
    editor=Permission.ADMINISTER,
    visible=visible_group,
    prefix=SERVER_PREFIX,
    reader=Permission.ADMINISTER,
    read_documents=read_access_documents,
    scoped_to_caller=True,
)


def put_group(access: AccessDocuments, group: Group, *, actor: str, reason: str) -> Change:
    """Return the change that creates or replaces a group."""
    check_grants_exist(backend().store, group.grants)
    group = replace(group, grants=tuple(dict.fromkeys(group.grants)))
    return people_edits.put_group(access, group, caller=current_caller(), reason=reason)


def delete_group(access: AccessDocuments, key: str, *, actor: str, reason: str) -> Change:
    """Return the change that deletes a group."""
    return people_edits.delete_group(access, key, caller=current_caller(), reason=reason)


groups.serve_list("List groups, with the grants that you may change.")
groups.serve_create(GroupBody, put_group, "Create a group. Its members are set on each person.")
groups.serve_get("Get a group.")
groups.serve_replace(
    GroupUpdate, put_group, "Replace a group, within two seconds for all its members."
)
groups.serve_delete(delete_group, "Delete a group that has no members.")
groups.serve_history(put_group, put_group)
