"""What SDKs call: the snapshot, the stream of updates, and reports."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from http import HTTPStatus

from flask import Response, request

from tidegate_server.domain.permissions import Permission
from tidegate_server.errors import FieldProblem, Invalid
from tidegate_server.sdk_api.report_consistency import check_consistency
from tidegate_server.sdk_api.report_schemas import ReportAnswer, ReportBody, ReportQuery
from tidegate_server.sdk_api.services import report_rates
from tidegate_server.sdk_api.streams import UpdateSource
from tidegate_server.store.reports import Report, Reported
from tidegate_server.web import event_stream, responses
from tidegate_server.web.access_control import sdk_environment
from tidegate_server.web.backend import backend, current_token
from tidegate_server.web.blueprint import Blueprint
from tidegate_server.web.etags import client_has, parse_version, with_etag
from tidegate_server.web.request_bodies import JSON

blueprint = Blueprint("sdk", __name__, description="What SDKs in applications use")

EVENT = {
    "type": "object",
    "description": "one event; `data` is a snapshot or an update, as JSON",
    "properties": {
        "id": {"type": "string", "pattern": "^[0-9]+$"},
        "event": {"enum": ["snapshot", "update"]},
        "data": {"type": "string", "contentMediaType": JSON},
        "retry": {"type": "integer"},
    },
}
WORTH_COMPRESSING = 1_000
"""Shorter snapshots, in bytes, are sent uncompressed."""


@blueprint.operation(
    "GET", "/sdk/v1/snapshot", permission=Permission.SDK, response={"type": "object"}
)
def get_snapshot() -> Response:
    """Read the whole configuration of the token's environment, `docs/wire/snapshot.schema.json`."""
    store = backend().store
    environment = sdk_environment(current_token())
    if "If-None-Match" in request.headers:
        version = store.version(*environment)
        if client_has(str(version)):
            return _not_cached(with_etag(Response(content_type=JSON), str(version)))
    snapshot = store.snapshot(*environment)
    response = Response(snapshot.body, content_type=JSON)
    if len(snapshot.body) > WORTH_COMPRESSING and request.accept_encodings.quality("gzip") > 0:
        response.set_data(gzip.compress(snapshot.body, compresslevel=5))
        response.headers["Content-Encoding"] = "gzip"
    response.headers["Vary"] = "Accept-Encoding"
    return _not_cached(with_etag(response, str(snapshot.version)))


@blueprint.operation(
    "GET",
    "/sdk/v1/stream",
    permission=Permission.SDK,
    response=EVENT,
    content_type=event_stream.CONTENT_TYPE,
    errors=(HTTPStatus.UNPROCESSABLE_ENTITY,),
)
def get_stream() -> Response:
    """Follow the token's environment as server-sent events, resumable by `Last-Event-ID`."""
    store, token, last_seen = backend().store, current_token(), _last_event_id()
    environment = sdk_environment(token)
    return _not_cached(
        backend().streams.response(token, lambda: UpdateSource(store, *environment, last_seen))
    )


def _last_event_id() -> int | None:
    text = request.headers.get("Last-Event-ID", "").strip()
    if not text:
        return None
    version = parse_version(text)
    if version is not None:
        return version
    message = "Last-Event-ID is the version of the last event; leave it out to get a snapshot."
    raise Invalid(message, FieldProblem("/Last-Event-ID", message))


def limit_reports() -> None:
    """Count a report against the rate of its token, before it is read."""
    size = request.content_length
    limit = backend().settings.report_limit
    report_rates().take(current_token().id, limit if size is None else min(size, limit))


@blueprint.operation(
    "POST",
    "/sdk/v1/reports",
    permission=Permission.SDK,
    query=ReportQuery,
    body=ReportBody,
    response=ReportAnswer,
    errors=(HTTPStatus.TOO_MANY_REQUESTS,),
    before_body=limit_reports,
)
def post_report(query: Mapping[str, bool], report: Report) -> Response:
    """Send an instance's totals; sending a report again changes nothing.

    All of a report is counted or nothing, except entries that cannot be evidence, which are
    `ignored`. 409 `instance-forgotten`: the server does not know the instance any more; continue
    under a new instance id.
    """
    project, environment = sdk_environment(current_token())
    check_consistency(report)
    if query["dry_run"]:
        version = backend().store.version(project, environment)
        return _not_cached(responses.value(ReportAnswer(), Reported(version)))
    reported = backend().store.evidence.add_report(project, environment, report)
    return _not_cached(responses.value(ReportAnswer(), reported))


def _not_cached(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response
