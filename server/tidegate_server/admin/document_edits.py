"""Edits of a project's documents: read everything, check ``If-Match``, commit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from tidegate_server.admin.commit_with_retry import commit_with_retry
from tidegate_server.admin.document_reader import project_of, whole_project
from tidegate_server.admin.webhooks.schemas import WebhookRequest
from tidegate_server.domain import flag_edits, policy_edits, project_edits, segment_edits
from tidegate_server.domain.change import Address, Change, Kind, Stored
from tidegate_server.domain.flags import FlagDefinition, SegmentDefinition, Targeting
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.project_documents import (
    ProjectDocuments,
    environment_address,
    flag_address,
    policy_address,
    segment_address,
    targeting_address,
)
from tidegate_server.domain.projects import Environment, Project
from tidegate_server.errors import AlreadyExists, FieldProblem, Invalid
from tidegate_server.store import Store
from tidegate_server.web.etags import require_if_match

Make = Callable[[ProjectDocuments], Change]
Keyed = TypeVar(
    "Keyed", FlagDefinition, SegmentDefinition, Policy, WebhookRequest, Project, Environment
)


def with_key(document: Keyed, key: str) -> Keyed:
    """A document under the key of its address.

    Raises:
        Invalid: it gives another key itself; a key never changes.
    """
    if document.key not in ("", key):
        raise _other_key("/key", document.key, key)
    return replace(document, key=key)


def with_flag(targeting: Targeting, flag: str) -> Targeting:
    """A targeting under the key of its address; raises ``Invalid`` as ``with_key`` does."""
    if targeting.flag not in ("", flag):
        raise _other_key("/flag", targeting.flag, flag)
    return replace(targeting, flag=flag)


def _other_key(pointer: str, given: str, addressed: str) -> Invalid:
    message = (
        f"The address says {addressed!r}, the body {given!r}; a key never changes. "
        "Leave it out of the body, or make a new one."
    )
    return Invalid(message, FieldProblem(pointer, message))


def _edit(store: Store, project: str, address: Address, make: Make) -> Stored:
    return commit_with_retry(store, lambda: make(whole_project(store, project))).stored(address)


def create_project(store: Store, project: Project, actor: str) -> Stored:
    """Register a project; raises ``AlreadyExists``."""
    address = Address(Kind.PROJECT, project.key)

    def make() -> Change:
        if store.get("", address) is not None:
            raise AlreadyExists(f"There is a project {project.key!r} already.")
        return project_edits.new_project(project, actor=actor)

    return commit_with_retry(store, make).stored(address)


def replace_project(store: Store, project: Project, actor: str) -> Stored:
    """Change what people read about a project."""

    def make() -> Change:
        before = project_of(store, project.key)
        require_if_match(before.revision, f"project {project.key}")
        return project_edits.edit_project(before, project, actor=actor)

    return commit_with_retry(store, make).stored(Address(Kind.PROJECT, project.key))


def create_environment(store: Store, project: str, new: Environment, actor: str) -> Stored:
    """Add an environment to a project; raises ``AlreadyExists``."""
    return _edit(
        store,
        project,
        environment_address(new.key),
        lambda documents: project_edits.new_environment(documents, new, actor=actor),
    )


def replace_environment(store: Store, project: str, after: Environment, actor: str) -> Stored:
    """Change what people read about an environment."""

    def make(documents: ProjectDocuments) -> Change:
        before = documents.environment(after.key)
        require_if_match(before.revision, f"environment {after.key}")
        return project_edits.edit_environment(documents, after, actor=actor)

    return _edit(store, project, environment_address(after.key), make)


def create_flag(store: Store, project: str, new: FlagDefinition, actor: str) -> Stored:
    """Create a flag in every environment; raises ``AlreadyExists`` and ``Invalid``."""
    return _edit(
        store,
        project,
        flag_address(new.key),
        lambda documents: flag_edits.new_flag(documents, new, actor=actor),
    )


def replace_flag(store: Store, project: str, after: FlagDefinition, actor: str) -> Stored:
    """Change a flag's definition; raises ``NotFound`` and ``Invalid``."""

    def make(documents: ProjectDocuments) -> Change:
        require_if_match(documents.flag(after.key).revision, f"flag {after.key}")
        return flag_edits.edit_flag(documents, after, actor=actor, now_ms=store.now_ms())

    return _edit(store, project, flag_address(after.key), make)


def delete_flag(store: Store, project: str, key: str, actor: str) -> None:
    """Delete a flag; raises ``NotFound``, and ``NotPossible`` while something needs it."""

    def make() -> Change:
        documents = whole_project(store, project)
        require_if_match(documents.flag(key).revision, f"flag {key}")
        return flag_edits.delete_flag(documents, key, actor=actor)

    commit_with_retry(store, make)


def replace_targeting(
    store: Store, project: str, environment: str, after: Targeting, actor: str
) -> Stored:
    """Change what a flag serves in an environment; its kill and its release stay."""

    def make(documents: ProjectDocuments) -> Change:
        documents.environment(environment)
        before = documents.targeting(environment, after.flag)
        require_if_match(before.revision, f"flag {after.flag} in {environment}")
        return flag_edits.edit_targeting(documents, environment, after, actor=actor)

    return _edit(store, project, targeting_address(environment, after.flag), make)


def create_segment(store: Store, project: str, new: SegmentDefinition, actor: str) -> Stored:
    """Create a segment; raises ``AlreadyExists`` and ``Invalid``."""

    def make(documents: ProjectDocuments) -> Change:
        if new.key in documents.segments:
            raise AlreadyExists(f"There is a segment {new.key!r} already.")
        return segment_edits.put_segment(documents, new, actor=actor)

    return _edit(store, project, segment_address(new.key), make)


def replace_segment(store: Store, project: str, after: SegmentDefinition, actor: str) -> Stored:
    """Change a segment; raises ``NotFound`` and ``Invalid``."""

    def make(documents: ProjectDocuments) -> Change:
        require_if_match(documents.segment(after.key).revision, f"segment {after.key}")
        return segment_edits.put_segment(documents, after, actor=actor)

    return _edit(store, project, segment_address(after.key), make)


def delete_segment(store: Store, project: str, key: str, actor: str) -> None:
    """Delete a segment; raises ``NotFound``, and ``NotPossible`` while something needs it."""

    def make() -> Change:
        documents = whole_project(store, project)
        require_if_match(documents.segment(key).revision, f"segment {key}")
        return segment_edits.delete_segment(documents, key, actor=actor)

    commit_with_retry(store, make)


def create_policy(store: Store, project: str, new: Policy, actor: str) -> Stored:
    """Create a policy; raises ``AlreadyExists`` and ``Invalid``."""

    def make(documents: ProjectDocuments) -> Change:
        if new.key in documents.policies:
            raise AlreadyExists(f"There is a policy {new.key!r} already.")
        return policy_edits.put_policy(documents, new, actor=actor)

    return _edit(store, project, policy_address(new.key), make)


def replace_policy(store: Store, project: str, after: Policy, actor: str) -> Stored:
    """Change a policy; releases that have started keep theirs."""

    def make(documents: ProjectDocuments) -> Change:
        require_if_match(documents.policy(after.key).revision, f"policy {after.key}")
        return policy_edits.put_policy(documents, after, actor=actor)

    return _edit(store, project, policy_address(after.key), make)


def delete_policy(store: Store, project: str, key: str, actor: str) -> None:
    """Delete a policy; releases that have started keep theirs."""

    def make() -> Change:
        documents = whole_project(store, project)
        require_if_match(documents.policy(key).revision, f"policy {key}")
        return policy_edits.delete_policy(documents, key, actor=actor)

    commit_with_retry(store, make)
