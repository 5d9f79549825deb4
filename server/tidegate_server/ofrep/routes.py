"""OpenFeature's remote evaluation protocol (OFREP): clients in any language ask the server.

Responses with 200, 400, 404 and 500 have the protocol's bodies. The protocol defines no body for
401, 403 and 429, so those are problem documents as everywhere else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any

import structlog
from flask import Response, g, request
from werkzeug.exceptions import HTTPException

from tidegate_server.domain.evidence import Source
from tidegate_server.domain.permissions import Permission, Role
from tidegate_server.domain.tokens import Token
from tidegate_server.errors import InvalidEvaluationRequest, StoreUnavailable, TidegateError
from tidegate_server.ofrep import evaluations, outcomes, schemas, stream_credentials
from tidegate_server.ofrep.change_events import ChangeEventSource
from tidegate_server.ofrep.environment_cache import CachedEnvironment, CachedFlags
from tidegate_server.ofrep.evaluation_requests import (
    EvaluationRequest,
    body_digest,
    read_evaluation_request,
)
from tidegate_server.ofrep.exposures import ExposureCounts
from tidegate_server.ofrep.flag_views import Audience
from tidegate_server.ofrep.response_bodies import bulk_body, counted_body, failure_body
from tidegate_server.ofrep.services import ofrep_services
from tidegate_server.web import problem_documents
from tidegate_server.web.access_control import evaluation_environment
from tidegate_server.web.backend import backend, current_token
from tidegate_server.web.blueprint import Blueprint
from tidegate_server.web.etags import client_has, parse_etags, parse_version
from tidegate_server.web.request_bodies import JSON

blueprint = Blueprint("ofrep", __name__, description="OpenFeature clients of any language")

KEY_HEADER = "X-API-Key"
INACTIVITY_SECONDS = 120
"""How long a page in the background keeps its stream."""

PREFLIGHT_HEADERS = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": f"Authorization, Content-Type, If-None-Match, {KEY_HEADER}, "
    "Last-Event-ID, Cache-Control",
    "Access-Control-Max-Age": "600",
}
EXPOSED_HEADERS = {"Access-Control-Expose-Headers": "ETag, Retry-After"}

View = Callable[..., Response]
log = structlog.stdlib.get_logger("tidegate_server.api")


def require_token(view: View) -> View:
    """Require a token that may evaluate flags, within its rate limit."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Response:
        authenticator = backend().authenticator
        with authenticator.noting_refusals():
            _admit(authenticator.token_from_request(KEY_HEADER))
        return view(*args, **kwargs)

    guarded.permission = Permission.EVALUATE  # type: ignore[attr-defined]
    return guarded


def require_stream_credential(view: View) -> View:
    """Require the credential of a stream; the view gets the version that the client has seen."""

    @wraps(view)
    def guarded() -> Response:
        text = request.args.get("credential", "")
        g.token_id = stream_credentials.token_id(text)
        credential = stream_credentials.verify_credential(
            backend().settings.secret_key,
            text,
            backend().authenticator,
            time.time(),
        )
        backend().authenticator.admit_from(credential.token, request.remote_addr)
        _admit(credential.token)
        _count_request(None)
        return view(credential.last_seen)

    guarded.permission = Permission.EVALUATE  # type: ignore[attr-defined]
    return guarded


def _admit(token: Token) -> None:
    g.token = token
    g.environment = evaluation_environment(token)
    ofrep_services().rate_limits.check(token, request.remote_addr)


def _count_request(targeting_key: str | None) -> None:
    """Count the current request for the rate limits; raise ``RateLimited`` if one is reached."""
    ofrep_services().rate_limits.take(current_token(), request.remote_addr, targeting_key or None)


def _read_request() -> EvaluationRequest:
    """Read the current request's body, and count the request whether or not it can be read.

    Raises:
        InvalidEvaluationRequest: the body cannot be read, or its signature is wrong.
    """
    try:
        evaluation_request = read_evaluation_request(request)
    except InvalidEvaluationRequest:
        _count_request(None)
        raise
    _count_request(evaluation_request.context.targeting_key)
    if evaluation_request.signature:
        ofrep_services().contexts.verify(
            g.environment,
            evaluation_request.context.targeting_key,
            evaluation_request.signature,
        )
    return evaluation_request


def _is_archived(key: str) -> bool:
    project, _ = evaluation_environment(current_token())
    return ofrep_services().archived_flags.has(project, key)


@blueprint.openapi_operation("POST", "/ofrep/v1/evaluate/flags/<path:key>", schemas.SINGLE)
@require_token
def evaluate_flag(key: str) -> Response:
    """Evaluate one flag for a context."""
    environment = _environment()
    view = _current_flags(environment).views[_audience(current_token())]
    evaluation_request = _read_request()
    context = evaluation_request.context
    evaluation = evaluations.evaluate_flag(view, key, context)
    counts = _exposures(environment, evaluation_request)
    if evaluation.known or current_token().role is not Role.CLIENT or _is_archived(key):
        # Anyone can make up names, so those of clients are not kept.
        counts.count_request(key, evaluation.variant, known=evaluation.known)
    if evaluation.exposed:
        counts.count_evaluations(evaluation.exposed, context.targeting_key)
    return Response(evaluation.body, evaluation.status, content_type=JSON)


@blueprint.openapi_operation("POST", "/ofrep/v1/evaluate/flags", schemas.BULK)
@require_token
def evaluate_flags() -> Response:
    """Evaluate every flag that the token may evaluate, for a context.

    The ETag changes when the evaluation of a flag changes for this context, and when the URL
    of the event stream changes.
    """
    token, environment, now = current_token(), _environment(), time.time()
    audience = _audience(token)
    flags = _current_flags(environment)
    view = flags.views[audience]
    step = stream_credentials.expiry_step(now, backend().settings.stream_credential_seconds)
    digest = _body_digest()
    request_key = digest + f"{token.id}.{step}".encode()
    conditional = "If-None-Match" in request.headers and not _config_differs(flags, audience)
    asked_by = Source.CLIENT if audience is Audience.CLIENTS else Source.SERVER
    environment.exposures[asked_by].asked_for_all = True
    etag = evaluations.cached_etag(view, request_key)
    if etag is not None and conditional and client_has(etag):
        # The body was not parsed, so its digest stands for its targeting key.
        _count_request(digest.hex())
        return _with_etag(Response(status=HTTPStatus.NOT_MODIFIED), etag)
    evaluation_request = _read_request()
    context = evaluation_request.context
    evaluation = evaluations.evaluate_all_flags(view, context)
    etag = evaluations.store_etag(view, request_key, evaluation)
    if conditional and client_has(etag):
        return _with_etag(Response(status=HTTPStatus.NOT_MODIFIED), etag)
    if evaluation.exposed:
        counts = _exposures(environment, evaluation_request)
        counts.count_evaluations(evaluation.exposed, context.targeting_key)
    stream_url = _stream_url(token, flags.compiled.version, now)
    body = bulk_body(evaluation.flags, stream_url, INACTIVITY_SECONDS)
    return _with_etag(Response(body, content_type=JSON), etag)


@blueprint.openapi_operation("POST", "/ofrep/v1/track", schemas.TRACK)
@require_token
def track() -> Response:
    """Report the outcome of an operation that used flags evaluated here.

    This is Tidegate's own operation: the protocol has none, and a release needs the error rates
    of pages and apps. The outcome counts for flags under release that still give the context
    the same variant.
    """
    environment = _environment()
    evaluation_request = _read_request()
    outcome = outcomes.parse_outcome(evaluation_request)
    view = environment.current().views[_audience(current_token())]
    counts = _exposures(environment, evaluation_request)
    bounded = current_token().role is Role.CLIENT
    counted = outcomes.count_outcome(view, counts, evaluation_request, outcome, bounded=bounded)
    return Response(counted_body(counted), HTTPStatus.ACCEPTED, content_type=JSON)


@blueprint.openapi_operation("GET", "/ofrep/v1/stream", schemas.STREAM)
@require_stream_credential
def follow_changes(last_seen: int) -> Response:
    """Follow changes as server-sent events, resumable by `Last-Event-ID`.

    Each event asks the client to evaluate its flags again. The response to a bulk evaluation
    has this address with its `credential`.
    """
    last_event_id = request.headers.get("Last-Event-ID", "").strip()
    if last_event_id:
        version = _parse_etag(last_event_id)
        last_seen = -1 if version is None else version
    token, environment = current_token(), _environment()
    environment.current()  # an error here still has a status; later the stream would just end
    return backend().streams.response(
        token, lambda: ChangeEventSource(environment, _audience(token), last_seen)
    )


def _body_digest() -> bytes:
    try:
        return body_digest(request)
    except InvalidEvaluationRequest:
        _count_request(None)
        raise


def _environment() -> CachedEnvironment:
    return ofrep_services().environments.get(g.environment)


def _exposures(
    environment: CachedEnvironment, evaluation_request: EvaluationRequest
) -> ExposureCounts:
    """Return the counts that the request may add to.

    Everyone can send what a client sends, unless the application's server signed who it is.
    """
    public = current_token().role is Role.CLIENT and not evaluation_request.signature
    return environment.exposures[Source.CLIENT if public else Source.SERVER]


def _audience(token: Token) -> Audience:
    return Audience.CLIENTS if token.role is Role.CLIENT else Audience.APPLICATIONS


def _current_flags(environment: CachedEnvironment) -> CachedFlags:
    """Return flags that have at least the change that made the client evaluate again."""
    version = _parse_etag(_config_etag())
    return environment.current() if version is None else environment.current_at_least(version)


def _config_etag() -> str:
    """Return the ETag of the event that made the client evaluate again; usually empty."""
    return request.args.get("flagConfigEtag", "") if request.query_string else ""


def _config_differs(flags: CachedFlags, audience: Audience) -> bool:
    """Return whether the client names another change than the last one for its audience.

    It then gets a whole response, whatever its ``If-None-Match`` (ADR 8 of the protocol).
    """
    etag = _config_etag()
    return bool(etag) and _parse_etag(etag) != flags.last_changes[audience].version


def _parse_etag(header: str) -> int | None:
    """Return the version in a header or an argument with one ETag; None: it has none."""
    tags = parse_etags(header).tags
    return parse_version(next(iter(tags))) if len(tags) == 1 else None


def _stream_url(token: Token, version: int, now: float) -> str:
    settings = backend().settings
    credential = stream_credentials.issue_credential(
        settings.secret_key, token, version, now, settings.stream_credential_seconds
    )
    return f"{_server_url()}/ofrep/v1/stream?credential={credential}"


def _server_url() -> str:
    """Return the URL under which the client reached this server, a trusted proxy included."""
    return f"{request.scheme}://{request.host}{request.root_path}"


def _with_etag(response: Response, etag: str) -> Response:
    response.headers["ETag"] = f'"{etag}"'
    return response


def add_cors_headers(response: Response) -> Response:
    """Let pages of allowed origins read the response."""
    response.headers["Cache-Control"] = "no-store"
    response.headers["Vary"] = "Origin"
    origin = request.headers.get("Origin")
    if origin and ofrep_services().allowed_origins.allows(origin, g.get("environment")):
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers.update(EXPOSED_HEADERS)
        if "Access-Control-Request-Method" in request.headers and request.method == "OPTIONS":
            response.headers.update(PREFLIGHT_HEADERS)
    return response


def handle_invalid_request(error: InvalidEvaluationRequest) -> Response:
    """Return 400 with the protocol's body."""
    return _failure(HTTPStatus.BAD_REQUEST, error.code, error.message)


def handle_tidegate_error(error: TidegateError) -> Response:
    """Return 401, 403 or 429; 500 with the protocol's body if the store is unreachable."""
    if not isinstance(error, StoreUnavailable):
        return problem_documents.from_error(error)
    log.warning("store_unavailable", problem=error.message)
    response = _failure(HTTPStatus.INTERNAL_SERVER_ERROR, "GENERAL", error.message)
    response.headers["Retry-After"] = "1"
    return response


def handle_exception(error: Exception) -> Response:
    """Return 500 with the protocol's body; the details go to the log only."""
    if isinstance(error, HTTPException) and (error.code or 500) < 500:
        return problem_documents.from_http_exception(error)
    log.error("request_failed", exc_info=error)
    details = "The server failed; its log has the details."
    return _failure(HTTPStatus.INTERNAL_SERVER_ERROR, "GENERAL", details)


blueprint.after_request(add_cors_headers)
blueprint.register_error_handler(InvalidEvaluationRequest, handle_invalid_request)
blueprint.register_error_handler(TidegateError, handle_tidegate_error)
blueprint.register_error_handler(Exception, handle_exception)


def _failure(status: HTTPStatus, code: str, details: str) -> Response:
    key = (request.view_args or {}).get("key")
    return Response(failure_body(key, code, details), status, content_type=JSON)
