"""Changes to hooks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tidegate_server.domain.change import Address, Change
from tidegate_server.domain.document_changes import delete_document_change, put_document_change
from tidegate_server.domain.field_problems import duplicate_problems, raise_problems
from tidegate_server.domain.hooks import Hook
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.project_documents import (
    ProjectDocuments,
    environment_address,
    flag_address,
    guards,
)
from tidegate_server.errors import FieldProblem

MAX_FLAGS = 100


def hook_address(id: str) -> Address:
    """Return the address of a hook."""
    return Address(Kind.HOOK, id)


def put_hook(documents: ProjectDocuments, hook: Hook, *, actor: str, reason: str = "") -> Change:
    """Create a hook, or replace the one with its id, which keeps its secret and its creator.

    Raises:
        Invalid: the hook is not valid, or names an environment or a flag that does not exist.
    """
    before = documents.hooks.get(hook.id)
    if before is not None:
        present: Hook = before.document
        hook = replace(
            hook,
            digest=present.digest,
            created_by=present.created_by,
            created_ms=present.created_ms,
        )
    raise_problems(f"hook {hook.name}", _hook_problems(documents, hook))
    return put_document_change(
        documents.project,
        hook_address(hook.id),
        before,
        hook,
        actor=actor,
        reason=reason,
        environment=hook.environment,
        details=_details(hook),
        writes=[
            *guards(environment_address, documents.environments, [hook.environment]),
            *guards(flag_address, documents.flags, hook.flags),
        ],
    )


def delete_hook(documents: ProjectDocuments, id: str, *, actor: str, reason: str = "") -> Change:
    """Delete a hook. Its URL stops working."""
    before = documents.hook(id)
    hook: Hook = before.document
    return delete_document_change(
        documents.project,
        hook_address(id),
        before,
        actor=actor,
        reason=reason,
        environment=hook.environment,
        details=_details(hook),
    )


def _hook_problems(documents: ProjectDocuments, hook: Hook) -> Iterator[FieldProblem]:
    if not hook.name.strip():
        yield FieldProblem("/name", "Give the hook a name; the audit log shows it.")
    if hook.environment not in documents.environments:
        known = ", ".join(sorted(documents.environments)) or "none"
        yield FieldProblem(
            "/environment",
            f"There is no environment {hook.environment!r}; there are {known}.",
            name=hook.environment,
            known=documents.environments.keys(),
        )
    if not 1 <= len(hook.flags) <= MAX_FLAGS:
        yield FieldProblem("/flags", f"A hook acts on 1 to {MAX_FLAGS} flags; name them.")
    yield from duplicate_problems(hook.flags, "/flags/{}", "entries for")
    for index, flag in enumerate(hook.flags):
        if flag not in documents.flags:
            yield FieldProblem(
                f"/flags/{index}",
                f"There is no flag {flag!r}.",
                name=flag,
                known=documents.flags.keys(),
            )


def _details(hook: Hook) -> dict[str, object]:
    return {
        "name": hook.name,
        "kind": str(hook.kind),
        "action": str(hook.action),
        "flags": ", ".join(hook.flags),
    }
