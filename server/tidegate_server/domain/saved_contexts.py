"""Saved contexts: test contexts of a project, to try flags out with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tidegate_server.domain.change import Change
from tidegate_server.domain.document_changes import delete_document_change, put_document_change
from tidegate_server.domain.project_documents import ProjectDocuments, context_address
from tidegate_server.errors import FieldProblem, Invalid

MOST_CONTEXTS = 500
"""How many contexts a project keeps."""


@dataclass(frozen=True, slots=True)
class SavedContext:
    """A context with a name; ``context`` has ``targetingKey`` and attributes."""

    key: str
    name: str = ""
    description: str = ""
    context: Mapping[str, Any] = field(default_factory=dict)


def put_context(
    documents: ProjectDocuments, saved: SavedContext, *, actor: str, reason: str = ""
) -> Change:
    """Save a context, or replace the one with its key.

    Raises:
        Invalid: the project has too many.
    """
    before = documents.contexts.get(saved.key)
    if before is None and len(documents.contexts) >= MOST_CONTEXTS:
        message = f"A project keeps {MOST_CONTEXTS} contexts; delete one that you do not need."
        raise Invalid(message, FieldProblem("/key", message))
    return put_document_change(
        documents.project, context_address(saved.key), before, saved, actor=actor, reason=reason
    )


def delete_context(
    documents: ProjectDocuments, key: str, *, actor: str, reason: str = ""
) -> Change:
    """Delete a saved context."""
    return delete_document_change(
        documents.project,
        context_address(key),
        documents.context(key),
        actor=actor,
        reason=reason,
    )
