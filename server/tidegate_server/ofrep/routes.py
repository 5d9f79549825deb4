"""OpenFeature's remote evaluation protocol (OFREP): clients in any language ask the server.

What the protocol has a body for (200, 400, 404, 500) is answered with that body; 401, 403 and
429, for which it has none, are problem documents like everywhere else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any

import structlog
from flask import Response, g, request, stream_with_context
from werkzeug.exceptions import HTTPException

from tidegate_server.domain.tokens import Role, Token
from tidegate_server.errors import StoreUnavailable, TidegateError
from tidegate_server.ofrep import evaluations, outcomes, stream_credentials
from tidegate_server.ofrep import schemas as schemas
from tidegate_server.ofrep.environment_cache import Resident, Served
from tidegate_server.ofrep.evaluation_requests import NotAsked, digest_of, read_question
from tidegate_server.ofrep.flag_views import Audience, View
from tidegate_server.web import problem_documents
from tidegate_server.web.access_control import evaluation_environment
from tidegate_server.web.backend import backend, current_token
from tidegate_server.web.blueprint import Blueprint
from tidegate_server.web.etags import parse_version
from tidegate_server.web.request_bodies import JSON

blueprint = Blueprint("ofrep", __name__, description="OpenFeature clients of any language")

KEY_HEADER = "X-API-Key"
IF_NONE_MATCH = "HTTP_IF_NONE_MATCH"
EVENT_STREAM = "text/event-stream"
INACTIVITY_SECONDS = 120
"""How long a page in the background keeps its stream."""

PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": f"Authorization, Content-Type, If-None-Match, {KEY_HEADER}, "
    "Last-Event-ID, Cache-Control",
    "Access-Control-Max-Age": "600",
}
EXPOSED = {"Access-Control-Expose-Headers": "ETag, Retry-After"}

View_ = Callable[..., Response]
log = structlog.stdlib.get_logger("tidegate_server.api")


def asking(view: View_) -> View_:
    """Let in who may ask for evaluations, as often as their token may."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Response:
        here = backend()
        token = here.authenticator.token_from_request(KEY_HEADER)
        g.token = token
        g.place = evaluation_environment(token)
        here.rate_limits.take(token)
        return view(*args, **kwargs)

    guarded.role = Role.CLIENT  # type: ignore[attr-defined]
    return guarded


def following(view: View_) -> View_:
    """Let in who presents a stream's credential, and say which version they have seen."""

    @wraps(view)
    def guarded() -> Response:
        here = backend()
        presented = request.args.get("credential", "")
        found = stream_credentials.read(
            here.settings.secret_key, presented, here.authenticator, time.time()
        )
        g.token = found.token
        g.place = evaluation_environment(found.token)
        here.rate_limits.take(found.token)
        return view(found.since)

    guarded.role = Role.CLIENT  # type: ignore[attr-defined]
    return guarded


@blueprint.openapi_operation("POST", "/ofrep/v1/evaluate/flags/<path:key>", schemas.SINGLE)
@asking
def evaluate_flag(key: str) -> Response:
    """Evaluate one flag for a context."""
    resident = _resident()
    view = _fresh(resident).views[_audience(current_token())]
    question = read_question(request)
    answer = evaluations.evaluate(view, key, question)
    if answer.exposed:
        resident.exposures.evaluated(answer.exposed, question.context.targeting_key)
    return Response(answer.body, answer.status, content_type=JSON)


@blueprint.openapi_operation("POST", "/ofrep/v1/evaluate/flags", schemas.BULK)
@asking
def evaluate_flags() -> Response:
    """Evaluate every flag that the token may ask, for a context.

    The ETag is of what every flag gives this context; it changes as well when the stream's
    address does.
    """
    token, resident = current_token(), _resident()
    audience = _audience(token)
    served = _fresh(resident)
    view, now = served.views[audience], time.time()
    step = stream_credentials.step(now, backend().settings.stream_credential_seconds)
    asked = digest_of(request) + f"{token.id}.{step}".encode()
    may_know = IF_NONE_MATCH in request.environ and not _config_differs(served, audience)
    etag = evaluations.known_etag(view, asked)
    if etag is not None and may_know and _known(etag):
        return _tagged(Response(status=HTTPStatus.NOT_MODIFIED), etag)
    question = read_question(request)
    given = evaluations.evaluate_all(view, question)
    etag = evaluations.etag_of(view, asked, given)
    if may_know and _known(etag):
        return _tagged(Response(status=HTTPStatus.NOT_MODIFIED), etag)
    if given.exposed:
        resident.exposures.evaluated(given.exposed, question.context.targeting_key)
    body = b'{"flags":' + given.flags + b',"eventStreams":' + _streams(token, view, now) + b"}"
    return _tagged(Response(body, content_type=JSON), etag)


@blueprint.openapi_operation("POST", "/ofrep/v1/track", schemas.TRACK)
@asking
def track() -> Response:
    """Say how a unit of work ended that was done with flags evaluated here.

    Tidegate's own, since the protocol has no word for it: an error rate of pages and apps
    needs one. Only flags under release that give the context the same variant still count.
    """
    resident = _resident()
    question = read_question(request)
    said = outcomes.read_outcome(question)
    view = resident.served().views[_audience(current_token())]
    counted = outcomes.count(view, resident.exposures, question, said)
    return Response(schemas.counted(counted), HTTPStatus.ACCEPTED, content_type=JSON)


@blueprint.openapi_operation("GET", "/ofrep/v1/stream", schemas.STREAM)
@following
def follow_changes(since: int) -> Response:
    """Hear, as server-sent events, when to evaluate again; resumable by `Last-Event-ID`.

    Bulk evaluations name this address with its `credential`.
    """
    last_event = request.headers.get("Last-Event-ID", "").strip()
    known = _version_in(last_event) if last_event else since
    token, resident = current_token(), _resident()
    resident.served()  # what cannot be served is said with a status, not by silence
    events = backend().notices.events(resident, _audience(token), token, known)
    response = Response(stream_with_context(events), content_type=EVENT_STREAM)
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _resident() -> Resident:
    return backend().residents.of(g.place)


def _audience(token: Token) -> Audience:
    return Audience.CLIENTS if token.role is Role.CLIENT else Audience.APPLICATIONS


def _fresh(resident: Resident) -> Served:
    """What to answer from: at least the version of the notice that made the client ask."""
    told = _version(_told())
    return resident.served() if told is None else resident.served_since(told)


def _told() -> str:
    """The ETag of the notice that made the client ask; most requests come without one."""
    return request.args.get("flagConfigEtag", "") if request.query_string else ""


def _config_differs(served: Served, audience: Audience) -> bool:
    """Whether the client was told of another change than the last one that it could notice.

    Then it must get a whole answer, whatever it has (ADR 8 of the protocol).
    """
    given = _told()
    return bool(given) and _version(given) != served.notices[audience].version


def _version(etag: str) -> int | None:
    return parse_version(etag.strip().removeprefix("W/").strip('"'))


def _version_in(last_event: str) -> int:
    """The version that the client saw last; what is no version of ours is none."""
    version = _version(last_event)
    return -1 if version is None else version


def _streams(token: Token, view: View, now: float) -> bytes:
    settings = backend().settings
    credential = stream_credentials.issue(
        settings.secret_key,
        token,
        view.compiled.version,
        now,
        settings.stream_credential_seconds,
    )
    url = f"{_own_address()}/ofrep/v1/stream?credential={credential}"
    return schemas.event_streams(url, INACTIVITY_SECONDS)


def _own_address() -> str:
    """The address under which the client reached this server, as a proxy in front tells it.

    Whoever makes these headers up gets an address of no use, and nobody else does.
    """
    scheme = request.headers.get("X-Forwarded-Proto", "").partition(",")[0].strip()
    host = request.headers.get("X-Forwarded-Host", "").partition(",")[0].strip()
    scheme = scheme if scheme in ("http", "https") else request.scheme
    return f"{scheme}://{host or request.host}{request.root_path}"


def _tagged(response: Response, etag: str) -> Response:
    response.headers["ETag"] = f'"{etag}"'
    return response


def _known(etag: str) -> bool:
    """Whether the client has the answer under this ETag."""
    # Most clients name one, as they got it.
    one: bool = request.environ[IF_NONE_MATCH] == f'"{etag}"'
    return one or request.if_none_match.contains_weak(etag)


def share_with_pages(response: Response) -> Response:
    """Let browsers give answers to pages of allowed origins."""
    response.headers["Cache-Control"] = "no-store"
    response.headers["Vary"] = "Origin"
    origin = request.headers.get("Origin")
    if origin and backend().origins.allow(origin, g.get("place")):
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers.update(EXPOSED)
        if "Access-Control-Request-Method" in request.headers and request.method == "OPTIONS":
            response.headers.update(PREFLIGHT)
    return response


def refuse(error: NotAsked) -> Response:
    """400, in the protocol's words."""
    return _failed(HTTPStatus.BAD_REQUEST, error.code, error.details)


def refuse_or_fail(error: TidegateError) -> Response:
    """401, 403 and 429; what is no fault of the client's is 500."""
    if not isinstance(error, StoreUnavailable):
        return problem_documents.from_error(error)
    log.warning("store unavailable", problem=error.message)
    failed = _failed(HTTPStatus.INTERNAL_SERVER_ERROR, "GENERAL", error.message)
    failed.headers["Retry-After"] = "1"
    return failed


def fail(error: Exception) -> Response:
    """500, in the protocol's words; what went wrong goes to the log only."""
    if isinstance(error, HTTPException) and (error.code or 500) < 500:
        return problem_documents.from_http_exception(error)
    log.error("request failed", exc_info=error)
    words = "The server met an error of its own; its log says more."
    return _failed(HTTPStatus.INTERNAL_SERVER_ERROR, "GENERAL", words)


blueprint.after_request(share_with_pages)
blueprint.register_error_handler(NotAsked, refuse)
blueprint.register_error_handler(TidegateError, refuse_or_fail)
blueprint.register_error_handler(Exception, fail)


def _failed(status: HTTPStatus, code: str, details: str) -> Response:
    key = (request.view_args or {}).get("key")
    return Response(schemas.failed(key, code, details), status, content_type=JSON)
