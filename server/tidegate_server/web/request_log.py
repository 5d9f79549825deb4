"""One log event per request, with the request id that its response carries too."""

from __future__ import annotations

import logging
import re
import secrets
import time

import structlog
from flask import Flask, Response, g, request

from tidegate_server import tracing
from tidegate_server.process_metrics import note_request
from tidegate_server.visible_text import escape_invisible
from tidegate_server.web.inner_requests import inner_caller

HEADER = "X-Request-ID"
_ACCEPTED = re.compile(r"[A-Za-z0-9._-]{1,64}")
QUIET_PATHS = ("/health/", "/metrics", "/sdk/v1/reports", "/sdk/v1/stream", "/ofrep/")
"""Frequent requests: logged at level debug unless they fail."""

UNTRACED_PATHS = ("/health/", "/metrics")
"""Asked for all the time by machines that watch."""

log = structlog.stdlib.get_logger("tidegate_server.api")
SHARED_PATHS = ("/shared/", "/badge/")
PARTS_BEFORE_SECRET = 4
"""Of a path of these: nothing, the page, the project and the share."""

_stdlib_log = logging.getLogger("tidegate_server.api")
"""Its level is checked before a debug event is built, which costs more than the check."""


def begin() -> None:
    """Keep the caller's request id if it is well-formed; otherwise make one."""
    request_id = request.headers.get(HEADER)
    accepted = request_id is not None and _ACCEPTED.fullmatch(request_id) is not None
    g.request_id = request_id if accepted else secrets.token_hex(8)
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=g.request_id)
    g.began = time.perf_counter()
    if not request.path.startswith(UNTRACED_PATHS):
        g.span = tracing.request_span(request.method, request.headers)


def end(response: Response) -> Response:
    """Log the request, its status and who sent it, but no body, query or secret."""
    response.headers[HEADER] = g.get("request_id", "")
    if (span := g.pop("span", None)) is not None:
        route = "" if request.url_rule is None else request.url_rule.rule
        span.end(route, response.status_code, g.request_id)
    is_inner = inner_caller(request.environ) is not None
    if not is_inner and (began := g.get("began")) is not None:
        note_request(request.path, response.status_code, time.perf_counter() - began)
    quiet = is_inner or (response.status_code < 400 and request.path.startswith(QUIET_PATHS))
    if quiet and not _stdlib_log.isEnabledFor(logging.DEBUG):
        return response
    milliseconds = (time.perf_counter() - g.get("began", time.perf_counter())) * 1000
    write = log.debug if quiet else log.info
    write(
        "request",
        method=request.method,
        path=escape_invisible(_without_secret(request.path)),
        status=response.status_code,
        milliseconds=round(milliseconds, 1),
        request_id=g.get("request_id", ""),
        address=request.remote_addr,
        token_id=g.get("token_id"),
        session_id=g.get("session_id"),
    )
    return response


def _without_secret(path: str) -> str:
    """Return a path without the secret of a shared page or badge, and without what follows it.

    An address that was copied wrongly ends with more, and has the whole secret all the same.
    """
    if not path.startswith(SHARED_PATHS):
        return path
    return "/".join(path.split("/")[:PARTS_BEFORE_SECRET]) + "/…"


def install(app: Flask) -> None:
    """Log the requests of an application."""
    app.before_request(begin)
    app.after_request(end)
