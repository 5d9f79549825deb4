"""Changes to projects and their environments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tidegate.model import Flag

from tidegate_server.domain.calendar import time_zone
from tidegate_server.domain.change import Address, Audit, Change, Put, Refresh, Stored
from tidegate_server.domain.document_changes import put_document_change
from tidegate_server.domain.field_problems import check_key, raise_problems
from tidegate_server.domain.flag_edits import first_targeting
from tidegate_server.domain.gate_validation import freeze_problems
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.project_documents import (
    ProjectDocuments,
    environment_address,
    kind_guards,
    put,
    targeting_address,
)
from tidegate_server.domain.projects import RETIRING_MS, Environment, Project
from tidegate_server.domain.snapshot import snapshot_entry, snapshot_segment
from tidegate_server.errors import AlreadyExists, FieldProblem


def new_project(project: Project, *, actor: str, reason: str = "") -> Change:
    """Create a project (scope ``""``) without environments; each of those is a change too."""
    check_key(f"project {project.key}", project.key)
    address = Address(Kind.PROJECT, project.key)
    return put_document_change("", address, None, project, actor=actor, reason=reason)


def edit_project(before: Stored, after: Project, *, actor: str, reason: str = "") -> Change:
    """Change a project's name or description (scope ``""``)."""
    project = replace(after, key=before.document.key)
    address = Address(Kind.PROJECT, project.key)
    return put_document_change("", address, before, project, actor=actor, reason=reason)


def new_environment(
    documents: ProjectDocuments, environment: Environment, *, actor: str, reason: str = ""
) -> Change:
    """Create an environment, in which every flag has its first targeting."""
    key = environment.key
    check_key(f"environment {key}", key)
    if key in documents.environments:
        raise AlreadyExists(f"There is an environment {key!r} already.")
    raise_problems(f"environment {key}", _freeze_problems(environment))
    writes: list[Put] = []
    flags: dict[str, Flag | None] = {}
    for flag, stored in documents.flags.items():
        targeting = first_targeting(stored.document)
        writes.append(Put(targeting_address(key, flag), targeting, 0))
        flags[flag] = snapshot_entry(stored.document, targeting, None, stored.revision + 1)
    segments = {name: snapshot_segment(each.document) for name, each in documents.segments.items()}
    return put_document_change(
        documents.project,
        environment_address(key),
        None,
        environment,
        actor=actor,
        reason=reason,
        environment=key,
        details={"flags": len(flags)},
        writes=writes,
        refreshes=[Refresh(key, flags=flags, segments=segments)],
        kind_guards=kind_guards(documents, Kind.FLAG, Kind.SEGMENT),
    )


def edit_environment(
    documents: ProjectDocuments, after: Environment, *, actor: str, reason: str = ""
) -> Change:
    """Change what people set of an environment; its context keys stay."""
    raise_problems(f"environment {after.key}", _freeze_problems(after))
    before = documents.environment(after.key)
    present: Environment = before.document
    return put_document_change(
        documents.project,
        environment_address(after.key),
        before,
        replace(
            after,
            context_key_id=present.context_key_id,
            retiring_context_key_id=present.retiring_context_key_id,
            context_key_retires_ms=present.context_key_retires_ms,
        ),
        actor=actor,
        reason=reason,
    )


def _freeze_problems(environment: Environment) -> Iterator[FieldProblem]:
    zone = time_zone(environment.timezone)
    if zone is None:
        yield FieldProblem(
            "/timezone",
            f"There is no time zone {environment.timezone[:100]!r}; write an IANA name, such as "
            "Europe/Berlin.",
        )
    yield from freeze_problems(environment.freezes, zone, "/freezes")


def rotate_context_key(
    documents: ProjectDocuments,
    key: str,
    context_key_id: str,
    *,
    actor: str,
    now_ms: int,
    reason: str = "",
) -> Change:
    """Give an environment a new context key. The present one stays valid for another day."""
    before = documents.environment(key)
    present: Environment = before.document
    after = replace(
        present,
        context_key_id=context_key_id,
        retiring_context_key_id=present.context_key_id,
        context_key_retires_ms=now_ms + RETIRING_MS,
    )
    details = {"old_until_ms": after.context_key_retires_ms} if present.context_key_id else {}
    return Change(
        scope=documents.project,
        writes=(put(environment_address(key), before, after),),
        audit=Audit(actor, "environment.rotate_key", key, key, reason, details),
    )
