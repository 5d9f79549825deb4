"""What SDKs call: the snapshot, the stream of updates, and reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus

from flask import Response, request
from marshmallow import fields, validate

from tidegate_server.documents.strict_schema import Strict
from tidegate_server.domain.permissions import Permission
from tidegate_server.errors import FieldProblem, Invalid
from tidegate_server.sdk_api.plain_requests import RATE_TAKEN, REFUSAL
from tidegate_server.sdk_api.report_consistency import check_consistency
from tidegate_server.sdk_api.report_schemas import ReportAnswer, ReportBody, ReportQuery
from tidegate_server.sdk_api.services import services
from tidegate_server.sdk_api.streams import UpdateSource
from tidegate_server.sdk_api.wanted_users import WantedUsers
from tidegate_server.store.reports import Report, Reported
from tidegate_server.web import client_connection, event_stream, responses
from tidegate_server.web.access_control import sdk_environment
from tidegate_server.web.backend import backend, current_token
from tidegate_server.web.blueprint import Blueprint
from tidegate_server.web.etags import client_has, parse_version, with_etag
from tidegate_server.web.request_bodies import JSON, is_gzip, read_bytes, replace_body

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
KEY_SET = "application/vnd.tidegate.key-set"
KEY_SET_CHANGES = "application/vnd.tidegate.key-set-changes"
HASHES = {"type": "string", "format": "binary"}

INCARNATION = "Tidegate-Incarnation"
"""The header with the incarnation of the version in ``Last-Event-ID``."""

WORTH_COMPRESSING = 1_000
"""Shorter snapshots, in bytes, are sent uncompressed."""


class KeySetQuery(Strict):
    """What the client of a key set has already."""

    since = fields.String(
        load_default="",
        validate=validate.Regexp("^([0-9a-f]{64})?$", error="This must be a digest."),
        metadata={"description": "the digest of an earlier key set of the same list"},
    )


@blueprint.operation(
    "GET", "/sdk/v1/snapshot", permission=Permission.SDK, response={"type": "object"}
)
def get_snapshot() -> Response:
    """Read the whole configuration of the token's environment, `docs/wire/snapshot.schema.json`."""
    store = backend().store
    environment = sdk_environment(current_token())
    if "If-None-Match" in request.headers:
        tag = _snapshot_tag(*store.incarnation_and_version(*environment))
        if client_has(tag):
            return _not_cached(with_etag(Response(content_type=JSON), tag))
    snapshot = store.snapshot(*environment)
    response = Response(snapshot.body, content_type=JSON)
    if len(snapshot.body) > WORTH_COMPRESSING and request.accept_encodings.quality("gzip") > 0:
        response.set_data(snapshot.compressed)
        response.headers["Content-Encoding"] = "gzip"
    response.headers["Vary"] = "Accept-Encoding"
    tag = _snapshot_tag(snapshot.incarnation, snapshot.version)
    return _not_cached(with_etag(response, tag))


def _snapshot_tag(incarnation: str, version: int) -> str:
    return f"{version}.{incarnation}" if incarnation else str(version)


@blueprint.operation(
    "GET",
    "/sdk/v1/key-sets/<digest>",
    permission=Permission.SDK,
    query=KeySetQuery,
    response=HASHES,
    content_type=KEY_SET,
)
def get_key_set(query: Mapping[str, str], digest: str) -> Response:
    """Read the uploaded keys that a segment of the snapshot names; see `docs/wire-formats.md`.

    With `since`, the response has only the changes since that key set, if the server still has
    them; its Content-Type tells which of both it is.
    """
    key_sets, (project, _) = backend().store.key_sets, sdk_environment(current_token())
    size = key_sets.size(project, digest)
    since = query["since"]
    steps = key_sets.steps(project, digest, since, size // 2) if since else None
    if steps is not None:
        response = Response(steps, content_type=KEY_SET_CHANGES)
        tag = f"{digest}.{since}"
    else:
        chunks = key_sets.chunks(project, digest)
        response = Response((b"".join(several) for several in chunks), content_type=KEY_SET)
        response.content_length = size
        tag = digest
    # A digest always names the same content.
    response.headers["Cache-Control"] = "private, max-age=31536000, immutable"
    return with_etag(response, tag)


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
    token, last_seen = current_token(), _last_event_id()
    incarnation = request.headers.get(INCARNATION)
    connection = client_connection.direct(request.environ)
    environments = services().streamed_environments
    environment = sdk_environment(token)
    return _not_cached(
        backend().streams.response(
            token,
            lambda: UpdateSource(environments, environment, last_seen, incarnation, connection),
        )
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
    """Count a report against the rate of its token, before it is read.

    A compressed one counts as what it will be, before it is decompressed.

    Raises:
        RateLimited: the token has sent too many.
        TidegateError: the report was read and refused already.
    """
    if REFUSAL in request.environ:
        raise request.environ[REFUSAL]
    if RATE_TAKEN in request.environ:
        return
    length, limit = request.content_length, backend().settings.report_limit
    size = limit if length is None else min(length, limit)
    token = current_token().id
    services().report_rates.take(token, size)
    if is_gzip(request):
        compressed = read_bytes(request, limit)
        body = services().decompress_report(token, compressed, size, limit)
        replace_body(request.environ, body)
        # What the request has read already.
        vars(request).pop("stream", None)
        vars(request).pop("_cached_data", None)


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

    The body may be compressed, with `Content-Encoding: gzip`.
    All of a report is counted or nothing, except entries that cannot be evidence, which are
    `ignored`. 409 `instance-forgotten`: the server does not know the instance any more; continue
    under a new instance id.
    """
    token = current_token()
    store, place = backend().store, sdk_environment(token)
    if query["dry_run"]:
        check_consistency(report)
        return _report_answer(Reported(store.version(*place)), None)
    report = replace(report, token=token.name)
    return _report_answer(*services().count_report(store, place, report))


def _report_answer(reported: Reported, wanted: WantedUsers | None) -> Response:
    answer = {"version": reported.version, "ignored": reported.ignored, "seen_users": wanted}
    return _not_cached(responses.value(ReportAnswer(), answer))


def _not_cached(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response
