"""One log event per request, with the request id that its response carries too."""

from __future__ import annotations

import logging
import re
import secrets
import time

import structlog
from flask import Flask, Response, g, request

from tidegate_server.visible_text import escape_invisible

HEADER = "X-Request-ID"
_ACCEPTED = re.compile(r"[A-Za-z0-9._-]{1,64}")
QUIET_PATHS = ("/health/", "/metrics", "/sdk/v1/reports", "/ofrep/")
"""Frequent requests: logged at level debug unless they fail."""

log = structlog.stdlib.get_logger("tidegate_server.api")
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


def end(response: Response) -> Response:
    """Log the request, its status and who sent it, but no body, query or secret."""
    response.headers[HEADER] = g.get("request_id", "")
    quiet = response.status_code < 400 and request.path.startswith(QUIET_PATHS)
    if quiet and not _stdlib_log.isEnabledFor(logging.DEBUG):
        return response
    milliseconds = (time.perf_counter() - g.get("began", time.perf_counter())) * 1000
    write = log.debug if quiet else log.info
    write(
        "request",
        method=request.method,
        path=escape_invisible(request.path),
        status=response.status_code,
        milliseconds=round(milliseconds, 1),
        request_id=g.get("request_id", ""),
        address=request.remote_addr,
        token_id=g.get("token_id"),
    )
    return response


def install(app: Flask) -> None:
    """Log the requests of an application."""
    app.before_request(begin)
    app.after_request(end)
