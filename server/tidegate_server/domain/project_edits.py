"""Commits of edits to projects and their environments."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tidegate.model import Flag

from tidegate_server.domain import validation
from tidegate_server.domain.change import (
    Address,
    Audit,
    Change,
    Delete,
    Guard,
    Kind,
    Put,
    Refresh,
    Stored,
)
from tidegate_server.domain.field_differences import changed_fields, same
from tidegate_server.domain.flag_edits import first_targeting
from tidegate_server.domain.project_documents import (
    ProjectDocuments,
    environment_address,
    flag_address,
    guard,
    put,
    segment_address,
    targeting_address,
)
from tidegate_server.domain.projects import Environment, Project
from tidegate_server.domain.snapshot import flag_of, segment_of
from tidegate_server.errors import AlreadyExists


def new_project(project: Project, *, actor: str, reason: str = "") -> Change:
    """Register a project (scope ``""``). Its environments are commits of their own."""
    validation.check_key(project.key)
    return Change(
        scope="",
        writes=(Put(Address(Kind.PROJECT, project.key), project, 0),),
        audit=Audit(actor, "project.create", project.key, "", reason),
    )


def edit_project(before: Stored, after: Project, *, actor: str, reason: str = "") -> Change:
    """Change a project's name or description (scope ``""``)."""
    where = Address(Kind.PROJECT, before.document.key)
    return _edit("", where, before, replace(after, key=before.document.key), actor, reason)


def new_environment(
    documents: ProjectDocuments, environment: Environment, *, actor: str, reason: str = ""
) -> Change:
    """Add an environment; every flag begins there with its first targeting."""
    key = environment.key
    validation.check_key(key)
    if key in documents.environments:
        raise AlreadyExists(f"There is an environment {key!r} already.")
    writes: list[Put | Delete | Guard] = [Put(environment_address(key), environment, 0)]
    snapshot: dict[str, Flag | None] = {}
    for flag, stored in documents.flags.items():
        targeting = first_targeting(stored.document)
        writes += [
            guard(flag_address(flag), stored),
            Put(targeting_address(key, flag), targeting, 0),
        ]
        snapshot[flag] = flag_of(stored.document, targeting, None, stored.revision + 1)
    writes += [guard(segment_address(name), held) for name, held in documents.segments.items()]
    return Change(
        scope=documents.project,
        writes=tuple(writes),
        refreshes=(
            Refresh(
                key,
                flags=snapshot,
                segments={
                    name: segment_of(held.document) for name, held in documents.segments.items()
                },
            ),
        ),
        audit=Audit(actor, "environment.create", key, key, reason, {"flags": len(snapshot)}),
    )


def edit_environment(
    documents: ProjectDocuments, after: Environment, *, actor: str, reason: str = ""
) -> Change:
    """Change an environment's name, description or allowed origins."""
    before = documents.environment(after.key)
    where = environment_address(after.key)
    return _edit(documents.project, where, before, after, actor, reason)


def _edit(
    scope: str, where: Address, before: Stored, after: Any, actor: str, reason: str
) -> Change:
    if same(before.document, after):
        return Change(scope=scope, writes=(guard(where, before),))
    details = {"changed": changed_fields(before.document, after)}
    return Change(
        scope=scope,
        writes=(put(where, before, after),),
        audit=Audit(actor, f"{where.kind}.edit", where.key, "", reason, details),
    )
