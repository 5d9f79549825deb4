"""One log event per request, and the request id that ties it to its answer."""

from __future__ import annotations

import logging
import re
import secrets
import time

import structlog
from flask import Flask, Response, g, request

HEADER = "X-Request-ID"
_ACCEPTED = re.compile(r"[A-Za-z0-9._-]{1,64}")
QUIET_PATHS = ("/health/", "/metrics", "/sdk/v1/reports", "/ofrep/")
"""What comes every few seconds from everyone; told at level debug unless it fails."""

log = structlog.stdlib.get_logger("tidegate_server.api")
_standard = logging.getLogger("tidegate_server.api")
"""Asked before a quiet event is made, which costs more than what it tells of."""


def begin() -> None:
    """Take the caller's request id where it is harmless, or make one."""
    given = request.headers.get(HEADER)
    accepted = given is not None and _ACCEPTED.fullmatch(given) is not None
    g.request_id = given if accepted else secrets.token_hex(8)
    g.began = time.perf_counter()


def end(response: Response) -> Response:
    """Say what was asked and how it went: never a body, a query or a token."""
    response.headers[HEADER] = g.get("request_id", "")
    quiet = response.status_code < 400 and request.path.startswith(QUIET_PATHS)
    if quiet and not _standard.isEnabledFor(logging.DEBUG):
        return response
    milliseconds = (time.perf_counter() - g.get("began", time.perf_counter())) * 1000
    token = g.get("token")
    say = log.debug if quiet else log.info
    say(
        "request",
        method=request.method,
        path=request.path,
        status=response.status_code,
        milliseconds=round(milliseconds, 1),
        request_id=g.get("request_id", ""),
        token_id=token.id if token is not None else None,
    )
    return response


def install(app: Flask) -> None:
    """Log the requests of an application."""
    app.before_request(begin)
    app.after_request(end)
