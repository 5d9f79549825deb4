"""Commits of edits to hooks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tidegate_server.domain import field_problems
from tidegate_server.domain.change import Address, Audit, Change, Delete, Guard, Kind, Put, Stored
from tidegate_server.domain.field_differences import changed_fields, same
from tidegate_server.domain.hooks import Hook
from tidegate_server.domain.project_documents import (
    ProjectDocuments,
    environment_address,
    flag_address,
    guard,
    put,
)
from tidegate_server.errors import FieldProblem

MOST_FLAGS = 100


def hook_address(id: str) -> Address:
    """Where a hook is."""
    return Address(Kind.HOOK, id)


def new_hook(documents: ProjectDocuments, hook: Hook, *, actor: str, reason: str = "") -> Change:
    """Keep a hook.

    Raises:
        Invalid: its environment or one of its flags does not exist.
    """
    _check(documents, hook)
    return Change(
        scope=documents.project,
        writes=(Put(hook_address(hook.id), hook, 0), *_guards(documents, hook)),
        audit=Audit(actor, "hook.create", hook.id, hook.environment, reason, _details(hook)),
    )


def edit_hook(
    documents: ProjectDocuments, before: Stored, hook: Hook, *, actor: str, reason: str = ""
) -> Change:
    """Change what a hook does. Its id, its secret and who made it stay.

    Raises:
        Invalid: its environment or one of its flags does not exist.
    """
    held: Hook = before.document
    hook = replace(
        hook,
        id=held.id,
        digest=held.digest,
        created_by=held.created_by,
        created_ms=held.created_ms,
    )
    _check(documents, hook)
    where = hook_address(hook.id)
    if same(held, hook):
        return Change(scope=documents.project, writes=(guard(where, before),))
    details = {**_details(hook), "changed": changed_fields(held, hook)}
    return Change(
        scope=documents.project,
        writes=(put(where, before, hook), *_guards(documents, hook)),
        audit=Audit(actor, "hook.edit", hook.id, hook.environment, reason, details),
    )


def delete_hook(project: str, before: Stored, *, actor: str, reason: str = "") -> Change:
    """Remove a hook; its secret is worth nothing from now on."""
    hook: Hook = before.document
    return Change(
        scope=project,
        writes=(Delete(hook_address(hook.id), before.revision),),
        audit=Audit(actor, "hook.delete", hook.id, hook.environment, reason, _details(hook)),
    )


def _check(documents: ProjectDocuments, hook: Hook) -> None:
    field_problems.refuse(f"hook {hook.name}", _of_hook(documents, hook))


def _of_hook(documents: ProjectDocuments, hook: Hook) -> Iterator[FieldProblem]:
    if not hook.name.strip():
        yield FieldProblem("/name", "Give it a name: the audit log names it by that.")
    if hook.environment not in documents.environments:
        known = ", ".join(sorted(documents.environments)) or "none"
        yield FieldProblem(
            "/environment", f"There is no environment {hook.environment!r}; there are {known}."
        )
    if not 1 <= len(hook.flags) <= MOST_FLAGS:
        yield FieldProblem("/flags", f"A hook acts on 1 to {MOST_FLAGS} flags; name them.")
    yield from field_problems.of_twice(hook.flags, "/flags/{}", "entries for")
    for index, flag in enumerate(hook.flags):
        if flag not in documents.flags:
            yield FieldProblem(f"/flags/{index}", f"There is no flag {flag!r}.")


def _guards(documents: ProjectDocuments, hook: Hook) -> list[Guard]:
    return [
        guard(environment_address(hook.environment), documents.environment(hook.environment)),
        *(guard(flag_address(flag), documents.flag(flag)) for flag in hook.flags),
    ]


def _details(hook: Hook) -> dict[str, object]:
    return {
        "name": hook.name,
        "kind": str(hook.kind),
        "action": str(hook.action),
        "flags": ", ".join(hook.flags),
    }
