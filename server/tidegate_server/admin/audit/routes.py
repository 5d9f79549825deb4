"""The audit log: who changed what, when and why."""

from __future__ import annotations

import json
from collections.abc import Iterator

from flask import Response

from tidegate_server.admin.audit.schemas import (
    AuditChainAnswer,
    AuditEntryAnswer,
    AuditExportQuery,
    AuditFilter,
    AuditPage,
    AuditPageRequest,
    AuditQuery,
    VerificationAnswer,
    VerificationQuery,
)
from tidegate_server.admin.document_reader import SERVER, read_project
from tidegate_server.domain.audit_chain import Link, verify
from tidegate_server.domain.permissions import Permission
from tidegate_server.errors import Forbidden, NotFound
from tidegate_server.store import Store
from tidegate_server.store.logs import ALWAYS
from tidegate_server.web import responses
from tidegate_server.web.backend import backend, current_caller
from tidegate_server.web.blueprint import PROJECT, Blueprint
from tidegate_server.web.pagination import encode_cursor, log_position

blueprint = Blueprint("audit", __name__, description="Who changed what, when and why")

NDJSON = "application/x-ndjson"
EXPORT = {"type": "string", "description": "one entry in JSON per line, the earliest first"}
CHUNK = 100
"""How many lines are sent at once."""


@blueprint.operation(
    "GET", f"{PROJECT}/audit", permission=Permission.READ, query=AuditQuery, response=AuditPage
)
def list_project_audit(request: AuditPageRequest, project: str) -> Response:
    """List the changes in a project, the latest first.

    With `key`, only the entries about it are read, however long the log is; with `object`, only
    the hours with an entry about one. A page may have fewer entries than `limit`, or none, and a
    `next_cursor` all the same: it ends when enough of the log was searched.
    """
    return _page(_scope(project), request)


@blueprint.operation(
    "GET", "/api/v1/audit", permission=Permission.READ, query=AuditQuery, response=AuditPage
)
def list_server_audit(request: AuditPageRequest) -> Response:
    """List the changes of projects and tokens, the latest first. Pages are as in a project."""
    return _page(SERVER, request)


@blueprint.operation(
    "GET",
    f"{PROJECT}/audit/export",
    permission=Permission.READ,
    query=AuditExportQuery,
    response=EXPORT,
    content_type=NDJSON,
    etag=False,
)
def export_project_audit(filter: AuditFilter, project: str) -> Response:
    """Export the changes in a project as NDJSON, the earliest first."""
    return _export(_scope(project), filter)


@blueprint.operation(
    "GET",
    "/api/v1/audit/export",
    permission=Permission.READ,
    query=AuditExportQuery,
    response=EXPORT,
    content_type=NDJSON,
    etag=False,
)
def export_server_audit(filter: AuditFilter) -> Response:
    """Export the changes of projects and tokens as NDJSON, the earliest first."""
    return _export(SERVER, filter)


@blueprint.operation(
    "GET",
    f"{PROJECT}/audit/chain",
    permission=Permission.READ,
    response=AuditChainAnswer,
    etag=False,
)
def get_project_audit_chain(project: str) -> Response:
    """Get the ends of the hash chain of a project's audit log."""
    return _chain(_scope(project))


@blueprint.operation(
    "GET", "/api/v1/audit/chain", permission=Permission.READ, response=AuditChainAnswer, etag=False
)
def get_server_audit_chain() -> Response:
    """Get the ends of the hash chain of the server's audit log."""
    return _chain(SERVER)


@blueprint.operation(
    "GET",
    f"{PROJECT}/audit/verification",
    permission=Permission.READ,
    query=VerificationQuery,
    response=VerificationAnswer,
    etag=False,
)
def verify_project_audit(known: Link | None, project: str) -> Response:
    """Check the hash chain of a project's audit log.

    The server checks what it has itself: to trust nobody, export the log and check it elsewhere,
    as `tidegate audit verify` does.
    """
    return _verification(_scope(project), known)


@blueprint.operation(
    "GET",
    "/api/v1/audit/verification",
    permission=Permission.READ,
    query=VerificationQuery,
    response=VerificationAnswer,
    etag=False,
)
def verify_server_audit(known: Link | None) -> Response:
    """Check the hash chain of the server's audit log, as for a project."""
    return _verification(SERVER, known)


@blueprint.operation(
    "GET",
    f"{PROJECT}/audit/<key:entry>",
    permission=Permission.READ,
    response=AuditEntryAnswer,
    etag=False,
)
def get_project_audit_entry(project: str, entry: str) -> Response:
    """Get an entry of a project's audit log by its id."""
    return _entry(_scope(project), entry)


@blueprint.operation(
    "GET",
    "/api/v1/audit/<key:entry>",
    permission=Permission.READ,
    response=AuditEntryAnswer,
    etag=False,
)
def get_server_audit_entry(entry: str) -> Response:
    """Get an entry of the server's audit log by its id."""
    return _entry(SERVER, entry)


def _scope(project: str) -> str:
    if not current_caller().holds(Permission.READ, project, None):
        raise Forbidden(
            "The audit log covers every environment of the project; you may read only a part of it."
        )
    read_project(backend().store, project)
    return project


def _page(scope: str, request: AuditPageRequest) -> Response:
    chosen, page = request.filter, request.page
    unfiltered = chosen == AuditFilter(chosen.period, key=chosen.key)
    entries, following = backend().store.logs.audit(
        scope,
        log_position(page),
        page.limit,
        chosen.period,
        None if unfiltered else chosen.matches,
        about=chosen.key,
        kind=chosen.object,
    )
    return responses.page(AuditPage(), entries, encode_cursor(following))


def _export(scope: str, chosen: AuditFilter) -> Response:
    return Response(_lines(backend().store, scope, chosen), content_type=NDJSON)


def _lines(store: Store, scope: str, chosen: AuditFilter) -> Iterator[str]:
    schema = AuditEntryAnswer()
    lines: list[str] = []
    entries = store.logs.audit_between(scope, chosen.period, about=chosen.key, kind=chosen.object)
    for entry in entries:
        if not chosen.matches(entry):
            continue
        lines.append(json.dumps(schema.dump(entry), ensure_ascii=False) + "\n")
        if len(lines) >= CHUNK:
            yield "".join(lines)
            lines.clear()
    yield "".join(lines)


def _entry(scope: str, id: str) -> Response:
    found = backend().store.logs.audit_entry(scope, id)
    if found is None:
        raise NotFound(f"The audit log has no entry {id!r}; it may be older than what is kept.")
    return responses.value(AuditEntryAnswer(), found)


def _verification(scope: str, known: Link | None) -> Response:
    logs = backend().store.logs
    # Before the entries: later ones may follow its head.
    ends = logs.audit_chain(scope)
    entries = (each.chained() for each in logs.audit_between(scope, ALWAYS))
    result = verify(entries, ends.head, ends.anchor, known)
    return responses.value(VerificationAnswer(), result)


def _chain(scope: str) -> Response:
    return responses.value(AuditChainAnswer(), backend().store.logs.audit_chain(scope))
