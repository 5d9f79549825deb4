"""Errors as problem documents (RFC 9457), in one place."""

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

MOST_ERRORS = 100
"""So many fields at fault are told; mending them will show the rest."""

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:tidegate:problem:"

STATUSES: Mapping[type[TidegateError], HTTPStatus] = {
    errors.Invalid: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.AlreadyExists: HTTPStatus.CONFLICT,
    errors.NotPossible: HTTPStatus.CONFLICT,
    errors.StaleRevision: HTTPStatus.PRECONDITION_FAILED,
    errors.RevisionRequired: HTTPStatus.PRECONDITION_REQUIRED,
    errors.Unauthenticated: HTTPStatus.UNAUTHORIZED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.RateLimited: HTTPStatus.TOO_MANY_REQUESTS,
    errors.Forgotten: HTTPStatus.CONFLICT,
    errors.StoreUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.TooManyAlerts: HTTPStatus.SERVICE_UNAVAILABLE,
}

TITLES: Mapping[str, str] = {
    errors.Invalid.slug: "A value that cannot be",
    errors.NotFound.slug: "No such thing",
    errors.AlreadyExists.slug: "The name is taken",
    errors.NotPossible.slug: "Not possible in the present state",
    errors.StaleRevision.slug: "Someone changed it first",
    errors.RevisionRequired.slug: "An update without If-Match",
    errors.Unauthenticated.slug: "No token, or not a known one",
    errors.Forbidden.slug: "The token may not do this",
    errors.RateLimited.slug: "Too many requests",
    errors.Forgotten.slug: "The store does not know this instance",
    errors.StoreUnavailable.slug: "The store cannot be reached",
    errors.TooManyAlerts.slug: "A hook is called too often",
}

log = structlog.stdlib.get_logger(__name__)


def problem(
    status: HTTPStatus,
    slug: str,
    title: str,
    detail: str,
    fields: Iterable[FieldProblem] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A problem document as a response."""
    document: dict[str, Any] = {
        "type": TYPE_PREFIX + slug,
        "title": title,
        "status": status.value,
        "detail": detail,
        "errors": [
            {"pointer": field.pointer, "detail": field.detail}
            for field in islice(fields, MOST_ERRORS)
        ],
        "request_id": g.get("request_id", ""),
    }
    return Response(
        json.dumps(document), status=status.value, content_type=MEDIA_TYPE, headers=headers
    )


def of_error(error: TidegateError) -> Response:
    """The problem document of an error that the server raised on purpose."""
    status = next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), None)
    if status is None:
        return of_crash(error)
    headers: dict[str, str] = {}
    if isinstance(error, errors.StaleRevision) and "If-Match" not in request.headers:
        # Nothing was asserted by the caller that could have failed: two changes met.
        status = HTTPStatus.CONFLICT
    if isinstance(error, errors.Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="tidegate"'
    if isinstance(error, errors.RateLimited):
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, errors.TooManyAlerts):
        headers["Retry-After"] = "30"
    if isinstance(error, errors.StoreUnavailable):
        headers["Retry-After"] = "1"
        log.warning("store unavailable", problem=error.message)
    return problem(status, error.slug, TITLES[error.slug], error.message, error.fields, headers)


def of_http(error: HTTPException) -> Response:
    """The problem document of what Flask itself refuses: no such route, a wrong method."""
    if error.response is not None or error.code is None:
        return of_crash(error)
    status = HTTPStatus(error.code)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return of_crash(error)
    if isinstance(error, NotFound):
        words = "There is no such address; /openapi.json lists those there are."
        return problem(status, "no-such-address", "No such address", words)
    slug = status.phrase.lower().replace(" ", "-")
    kept = {
        name: value
        for name, value in error.get_headers()
        if name.lower() not in ("content-type", "content-length")
    }
    detail = error.description or status.phrase
    return problem(status, slug, status.phrase, detail, headers=kept)


def of_crash(error: Exception) -> Response:
    """The problem document of a fault of our own; what went wrong goes to the log only."""
    log.error("request failed", exc_info=error)
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    return problem(
        status,
        "internal",
        "A fault of the server",
        "The server met an error of its own. The log has it under the request_id.",
    )


def register(app: Flask) -> None:
    """Let every error of an application leave as a problem document."""
    app.register_error_handler(TidegateError, of_error)
    app.register_error_handler(HTTPException, of_http)
    app.register_error_handler(Exception, of_crash)
