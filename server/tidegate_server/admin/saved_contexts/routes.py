"""Saved contexts: test contexts of a project, to try flags out with."""

from __future__ import annotations

from tidegate_server.admin.document_resource import DocumentResource
from tidegate_server.admin.saved_contexts.schemas import (
    SavedContextAnswer,
    SavedContextBody,
    SavedContextPage,
    SavedContextUpdate,
)
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.saved_contexts import delete_context, put_context
from tidegate_server.web.blueprint import Blueprint

blueprint = Blueprint("contexts", __name__, description="Saved contexts, to try flags out with")

contexts = DocumentResource(blueprint, Kind.CONTEXT, SavedContextAnswer, SavedContextPage)
contexts.serve_list("List the saved contexts of a project.")
contexts.serve_create(SavedContextBody, put_context, "Save a context.")
contexts.serve_get("Get a saved context.")
contexts.serve_replace(SavedContextUpdate, put_context, "Replace a saved context.")
contexts.serve_history(put_context, put_context)
contexts.serve_delete(delete_context, "Delete a saved context.")
