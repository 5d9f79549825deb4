"""Flags: their definition, the same in every environment of a project."""

from __future__ import annotations

from flask import Response

from tidegate_server.admin.document_reader import read_project
from tidegate_server.admin.document_resource import DocumentResource
from tidegate_server.admin.flags.schemas import (
    FlagAnswer,
    FlagBody,
    FlagListQuery,
    FlagListRequest,
    FlagPage,
    FlagUpdate,
)
from tidegate_server.domain import flag_edits
from tidegate_server.domain.change import Change, Kind
from tidegate_server.domain.flags import FlagDefinition
from tidegate_server.domain.permissions import Permission
from tidegate_server.domain.project_documents import ProjectDocuments
from tidegate_server.web import responses
from tidegate_server.web.backend import backend
from tidegate_server.web.blueprint import Blueprint
from tidegate_server.web.pagination import paginate

blueprint = Blueprint(
    "flags", __name__, description="Definitions of flags, the same in every environment"
)


def edit_flag(
    documents: ProjectDocuments, flag: FlagDefinition, *, actor: str, reason: str
) -> Change:
    """Return the change that replaces a flag's definition now."""
    now_ms = backend().store.now_ms()
    return flag_edits.edit_flag(documents, flag, actor=actor, now_ms=now_ms, reason=reason)


flags = DocumentResource(blueprint, Kind.FLAG, FlagAnswer, FlagPage)


@blueprint.operation(
    "GET", flags.collection, permission=Permission.READ, query=FlagListQuery, response=FlagPage
)
def list_flags(wanted: FlagListRequest, project: str) -> Response:
    """List the flags of a project."""
    store = backend().store
    read_project(store, project)
    chosen = {
        key: stored
        for key, stored in store.all(project, Kind.FLAG).items()
        if wanted.matches(stored.document)
    }
    items, following = paginate(chosen, wanted.page)
    return responses.page(FlagPage(), items, following)


flags.serve_create(
    FlagBody, flag_edits.new_flag, "Create a flag, with its first targeting in every environment."
)
flags.serve_get("Get a flag.")
flags.serve_replace(
    FlagUpdate, edit_flag, "Replace a flag's definition, in every environment at once."
)
flags.serve_history(edit_flag, flag_edits.new_flag)
flags.serve_delete(flag_edits.delete_flag, "Delete a flag and its targeting in every environment.")
