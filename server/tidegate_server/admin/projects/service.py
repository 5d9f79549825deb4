"""Create and change projects."""

from __future__ import annotations

from tidegate_server.admin.commit_with_retry import commit_with_retry
from tidegate_server.admin.document_reader import SERVER, read_project
from tidegate_server.admin.projects.deletion import earlier_deletion
from tidegate_server.domain import project_edits
from tidegate_server.domain.change import Address, Change, Delete, Stored
from tidegate_server.domain.deletions import deletion_address
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.projects import Project
from tidegate_server.errors import AlreadyExists
from tidegate_server.store import Store
from tidegate_server.web.etags import IfMatch


def create_project(store: Store, project: Project, actor: str, reason: str = "") -> Stored:
    """Create a project without environments; raises ``AlreadyExists``."""
    address = Address(Kind.PROJECT, project.key)

    def make_change() -> Change:
        if store.get(SERVER, address) is not None:
            raise AlreadyExists(f"Project {project.key!r} already exists.")
        earlier = earlier_deletion(store, project.key)
        if earlier is not None:
            delete = Delete(deletion_address(), earlier.revision, before=earlier.document)
            store.commit(Change(project.key, (delete,)))
        return project_edits.new_project(project, actor=actor, reason=reason)

    return commit_with_retry(store, make_change).stored(address)


def replace_project(
    store: Store, project: Project, actor: str, reason: str, if_match: IfMatch
) -> Stored:
    """Change a project's name and description.

    Raises:
        NotFound: there is no such project.
        RevisionRequired, StaleRevision: ``if_match`` does not accept its revision.
    """

    def make_change() -> Change:
        before = read_project(store, project.key)
        if_match.require(before.revision, f"project {project.key}")
        return project_edits.edit_project(before, project, actor=actor, reason=reason)

    return commit_with_retry(store, make_change).stored(Address(Kind.PROJECT, project.key))
