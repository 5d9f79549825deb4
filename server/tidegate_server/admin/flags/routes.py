"""Flags: their definition, the same in every environment of a project."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http import HTTPStatus

from flask import Response

from tidegate_server.admin.action_schemas import ActionBody, ActionRequest
from tidegate_server.admin.commit_with_retry import commit_with_retry
from tidegate_server.admin.document_commits import delete_document
from tidegate_server.admin.document_reader import read_document, read_project_documents
from tidegate_server.admin.document_resource import DocumentResource
from tidegate_server.admin.evaluation_counts.service import flag_activity, lately_asked
from tidegate_server.admin.flags.schemas import (
    FlagAnswer,
    FlagBody,
    FlagDeletionQuery,
    FlagUpdate,
)
from tidegate_server.admin.pending_store import PendingStore
from tidegate_server.domain import flag_edits
from tidegate_server.domain.change import Change, Stored
from tidegate_server.domain.flags import FlagDefinition
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.permissions import Permission
from tidegate_server.domain.project_documents import ProjectDocuments, flag_address
from tidegate_server.errors import StoreUnavailable
from tidegate_server.web import responses
from tidegate_server.web.backend import backend, current_actor
from tidegate_server.web.blueprint import Blueprint
from tidegate_server.web.etags import content_suffix, read_if_match
from tidegate_server.web.reasons import current_reason

blueprint = Blueprint(
    "flags", __name__, description="Definitions of flags, the same in every environment"
)


def edit_flag(
    documents: ProjectDocuments, flag: FlagDefinition, *, actor: str, reason: str
) -> Change:
    """Return the change that replaces a flag's definition now."""
    now_ms = backend().store.now_ms()
    return flag_edits.edit_flag(documents, flag, actor=actor, now_ms=now_ms, reason=reason)


flags = DocumentResource(blueprint, Kind.FLAG, FlagAnswer)


flags.serve_create(
    FlagBody, flag_edits.new_flag, "Create a flag, with its first targeting in every environment."
)


@blueprint.operation("GET", flags.item, permission=Permission.READ, response=FlagAnswer)
def get_flag(project: str, flag: str) -> Response:
    """Get a flag, with where it was evaluated last and whether it is stale."""
    return _answer(project, read_document(backend().store, project, flag_address(flag)))


flags.serve_replace(
    FlagUpdate, edit_flag, "Replace a flag's definition, in every environment at once."
)
flags.serve_history(edit_flag, flag_edits.new_flag)


@blueprint.operation(
    "DELETE",
    flags.item,
    permission=Permission.WRITE,
    query=FlagDeletionQuery,
    response=None,
    status=HTTPStatus.NO_CONTENT,
)
def delete_flag(force: bool, project: str, flag: str) -> Response:
    """Delete an archived flag and its targeting in every environment.

    A flag that is not archived, or that an application asked for within the project's
    `deletable_after_days`, is deleted only with `force`.
    """
    actor, reason, store = current_actor(), current_reason(), backend().store

    def make_change(documents: ProjectDocuments) -> Change:
        return flag_edits.delete_flag(
            documents,
            flag,
            actor=actor,
            reason=reason,
            force=force,
            still_asked=lately_asked(store, project, documents.environments, flag),
        )

    delete_document(store, project, flag_address(flag), read_if_match(), make_change)
    if isinstance(store, PendingStore):
        return responses.no_content()  # a change request is made, and nothing is deleted yet
    with suppress(StoreUnavailable):  # then the creation of another one with this key forgets it
        store.evaluations.forget(project, store.keys(project, Kind.ENVIRONMENT), flag)
    return responses.no_content()


@blueprint.operation(
    "POST",
    f"{flags.item}/archive",
    permission=Permission.WRITE,
    body=ActionBody,
    response=FlagAnswer,
)
def archive_flag(action: ActionRequest, project: str, flag: str) -> Response:
    """Take a flag out of every environment: applications get the default in their code.

    Its definition, targeting and history stay. A flag with an active release, or that another
    flag has as a prerequisite, cannot be archived. To archive an archived flag changes nothing.
    `warnings` name the applications that still ask for it.
    """
    now_ms = backend().store.now_ms()
    return _act(partial(flag_edits.archive_flag, now_ms=now_ms), action, project, flag)


@blueprint.operation(
    "POST",
    f"{flags.item}/unarchive",
    permission=Permission.WRITE,
    body=ActionBody,
    response=FlagAnswer,
)
def unarchive_flag(action: ActionRequest, project: str, flag: str) -> Response:
    """Serve an archived flag again, as its targeting in each environment says."""
    return _act(flag_edits.unarchive_flag, action, project, flag)


def _act(make: Callable[..., Change], action: ActionRequest, project: str, flag: str) -> Response:
    actor, reason = current_actor(), current_reason(action.reason)
    store, if_match = backend().store, read_if_match()

    def make_change() -> Change:
        documents = read_project_documents(store, project)
        if_match.check(documents.flag(flag).revision, f"flag {flag}")
        return make(documents, flag, actor=actor, reason=reason)

    stored = commit_with_retry(store, make_change).stored(flag_address(flag))
    return _answer(project, stored)


def _answer(project: str, stored: Stored) -> Response:
    """Answer with a flag; its ETag also differs with what was observed of it."""
    [found] = flag_activity(backend().store, project, [stored], warn=True)
    suffix = ""
    observed = (found.evaluated, found.stale, found.warnings)
    if any(observed):
        suffix = content_suffix(repr(observed))
    return responses.document(FlagAnswer(), found, found.revision, suffix=suffix)
