"""Errors as problem documents (RFC 9457)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from itertools import islice
from typing import Any

import structlog
from flask import Flask, Response, g, json, request
from werkzeug.exceptions import HTTPException, NotFound

from tidegate_server import errors
from tidegate_server.errors import FieldProblem, TidegateError

MAX_ERRORS = 100
"""The most field problems in one document; fix these to see the rest."""

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:tidegate:problem:"

RENAMED_PHRASES: Mapping[int, str] = {
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Content Too Large",
    HTTPStatus.REQUEST_URI_TOO_LONG: "URI Too Long",
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: "Range Not Satisfiable",
    HTTPStatus.UNPROCESSABLE_ENTITY: "Unprocessable Content",
}
"""As RFC 9110 has them. Python has them since version 3.13, and had others before."""

STATUSES: Mapping[type[TidegateError], HTTPStatus] = {
    errors.Invalid: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.AlreadyExists: HTTPStatus.CONFLICT,
    errors.NotPossible: HTTPStatus.CONFLICT,
    errors.ApprovalRequired: HTTPStatus.CONFLICT,
    errors.StaleRevision: HTTPStatus.PRECONDITION_FAILED,
    errors.RevisionRequired: HTTPStatus.PRECONDITION_REQUIRED,
    errors.Unauthenticated: HTTPStatus.UNAUTHORIZED,
    errors.DeviceNotSignedIn: HTTPStatus.BAD_REQUEST,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.RateLimited: HTTPStatus.TOO_MANY_REQUESTS,
    errors.InstanceForgotten: HTTPStatus.CONFLICT,
    errors.StoreUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.TooManyAlerts: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.Overloaded: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.Abandoned: HTTPStatus.REQUEST_TIMEOUT,
}

TITLES: Mapping[str, str] = {
    errors.Invalid.slug: "Invalid value",
    errors.ReasonRequired.slug: "Reason required",
    errors.NotFound.slug: "Not found",
    errors.NotKept.slug: "Version not kept",
    errors.AlreadyExists.slug: "Already exists",
    errors.NotPossible.slug: "Not possible in the current state",
    errors.ApprovalRequired.slug: "Needs approval",
    errors.StaleRevision.slug: "Changed by someone else",
    errors.RevisionRequired.slug: "If-Match is missing",
    errors.Unauthenticated.slug: "Not signed in, or an unknown token",
    errors.WrongPassword.slug: "Wrong email, password or code",
    errors.SecondFactorRequired.slug: "One-time code required",
    errors.DeviceNotSignedIn.slug: "Not approved yet",
    errors.AsksTooSoon.slug: "Asked too soon",
    errors.SignInDenied.slug: "Refused",
    errors.DeviceCodeExpired.slug: "Code expired",
    errors.SignInRefused.slug: "Not signed in",
    errors.Forbidden.slug: "Not allowed",
    errors.RateLimited.slug: "Too many requests",
    errors.InstanceForgotten.slug: "Unknown instance",
    errors.StoreUnavailable.slug: "Store unavailable",
    errors.TooManyAlerts.slug: "Too many alerts",
    errors.Overloaded.slug: "Too much to compute",
    errors.Abandoned.slug: "Nobody waits for the answer",
}

log = structlog.stdlib.get_logger(__name__)


def problem(
    status: HTTPStatus,
    slug: str,
    title: str,
    detail: str,
    fields: Iterable[FieldProblem] = (),
    headers: Mapping[str, str] | None = None,
    suggestions: Iterable[str] = (),
) -> Response:
    """Return a problem document as a response."""
    document: dict[str, Any] = {
        "type": TYPE_PREFIX + slug,
        "title": title,
        "status": status.value,
        "detail": detail,
        "errors": [
            {"pointer": field.pointer, "detail": field.detail}
            for field in islice(fields, MAX_ERRORS)
        ],
        "suggestions": list(suggestions),
        "request_id": g.get("request_id", ""),
    }
    return Response(
        json.dumps(document), status=status.value, content_type=MEDIA_TYPE, headers=headers
    )


def from_error(error: TidegateError) -> Response:
    """Return the problem document of one of the server's own errors."""
    status = next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), None)
    if status is None:
        return internal_error(error)
    headers: dict[str, str] = {}
    if isinstance(error, errors.StaleRevision) and "If-Match" not in request.headers:
        # The caller sent no precondition that could fail: two changes collided.
        status = HTTPStatus.CONFLICT
    if isinstance(error, errors.Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="tidegate"'
    if isinstance(error, errors.RateLimited | errors.Overloaded):
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, errors.TooManyAlerts):
        headers["Retry-After"] = "30"
    if isinstance(error, errors.StoreUnavailable):
        headers["Retry-After"] = "1"
        log.warning("store_unavailable", problem=error.message)
    return problem(
        status,
        error.slug,
        TITLES[error.slug],
        error.message,
        error.fields,
        headers,
        error.suggestions,
    )


def from_http_exception(error: HTTPException) -> Response:
    """Return the problem document of an error that Flask raised, such as an unknown route."""
    if error.response is not None or error.code is None:
        return internal_error(error)
    status = HTTPStatus(error.code)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return internal_error(error)
    if isinstance(error, NotFound):
        detail = "There is no such route; /openapi.json lists all routes."
        return problem(status, "no-such-address", "No such route", detail)
    phrase = reason_phrase(status)
    slug = phrase.lower().replace(" ", "-")
    headers = {
        name: value
        for name, value in error.get_headers()
        if name.lower() not in ("content-type", "content-length")
    }
    return problem(status, slug, phrase, error.description or phrase, headers=headers)


def reason_phrase(status: HTTPStatus) -> str:
    """Return the words for a status, the same under every version of Python."""
    return RENAMED_PHRASES.get(status, status.phrase)


def internal_error(error: Exception) -> Response:
    """Log an unexpected exception, and return a problem document that reveals nothing of it."""
    log.error("request_failed", exc_info=error)
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    return problem(
        status,
        "internal",
        "Internal server error",
        "The server failed. Its log has the details under the request_id.",
    )


def register_error_handlers(app: Flask) -> None:
    """Return every error of an application as a problem document."""
    app.register_error_handler(TidegateError, from_error)
    app.register_error_handler(HTTPException, from_http_exception)
    app.register_error_handler(Exception, internal_error)
