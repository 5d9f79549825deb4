"""Answers the plain requests of SDKs without Flask: they are nearly all requests of a server.

Only what every one of them needs is done here, with the services and the checks of the routes.
Whatever is not a plain request with a token that was seen before, or cannot succeed, the route
answers: it knows every error.
"""

from __future__ import annotations

import io
import logging
import secrets
import time
from collections.abc import Iterable, Mapping
from functools import partial
from http import HTTPStatus
from typing import cast
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import msgspec
from flask import Flask
from werkzeug.exceptions import HTTPException, RequestTimeout

from tidegate_server import tracing
from tidegate_server.domain.tokens import Token
from tidegate_server.errors import TidegateError
from tidegate_server.process_metrics import note_request
from tidegate_server.sdk_api.plain_reports import read_plain
from tidegate_server.sdk_api.services import EXTENSION as SERVICES
from tidegate_server.sdk_api.services import Services
from tidegate_server.sdk_api.streams import UpdateSource
from tidegate_server.web import client_connection, request_log
from tidegate_server.web.access_control import sdk_environment
from tidegate_server.web.backend import EXTENSION, Backend
from tidegate_server.web.etags import parse_version
from tidegate_server.web.event_stream import HEADERS as STREAM_HEADERS
from tidegate_server.web.request_bodies import JSON, LARGE_BODY, replace_body

STREAM = ("GET", "/sdk/v1/stream")
REPORTS = ("POST", "/sdk/v1/reports")
SCHEME = "Bearer "
GZIP = "gzip"
OK = f"{HTTPStatus.OK.value} {HTTPStatus.OK.phrase}"

RATE_TAKEN = "tidegate.rate_taken"
"""Set in the WSGI environment of a report that counts against the rate of its token already."""

REFUSAL = "tidegate.refusal"
"""In the WSGI environment of a report that was read and refused here: the error to answer with."""

_log = logging.getLogger("tidegate_server.api")


class PlainRequests:
    """A WSGI application that answers plain requests, and leaves everything else to another one.

    Args:
        application: the other one.
        app: has the services.
        headers: of every response.
    """

    def __init__(
        self, application: WSGIApplication, app: Flask, headers: Mapping[str, str]
    ) -> None:
        self._application = application
        self._app = app
        headers = {**headers, "Cache-Control": "no-store"}
        self._stream_headers = [*({**headers, **STREAM_HEADERS}.items())]
        self._json_headers = [*({**headers, "Content-Type": JSON}.items())]

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve a request."""
        request = (environ["REQUEST_METHOD"], environ["PATH_INFO"])
        if request not in (STREAM, REPORTS) or not _is_plain(environ):
            return self._application(environ, start_response)
        began = time.perf_counter()
        answer: Iterable[bytes] | None
        if request == STREAM:
            headers = self._stream_headers
            answer = self._open_stream(environ)
        else:
            body = self._count_report(environ)
            headers = [*self._json_headers, ("Content-Length", str(len(body or b"")))]
            answer = None if body is None else [body]
            connection = client_connection.direct(environ)
            if body is not None and connection is not None:
                connection.join_next()
        if answer is None:
            return self._application(environ, start_response)
        id = (request_log.HEADER, secrets.token_hex(8))
        start_response(OK, [*headers, id])
        note_request(request[1], HTTPStatus.OK, time.perf_counter() - began)
        return answer

    def _open_stream(self, environ: WSGIEnvironment) -> Iterable[bytes] | None:
        backend, services = self._services()
        last_event_id = environ.get("HTTP_LAST_EVENT_ID", "")
        last_seen = parse_version(last_event_id) if last_event_id else None
        if last_event_id and last_seen is None:
            return None
        try:
            token = _recognize(backend, environ)
            if token is None:
                return None
            place = sdk_environment(token)
        except TidegateError:
            return None
        source = partial(
            UpdateSource,
            services.streamed_environments,
            place,
            last_seen,
            environ.get("HTTP_TIDEGATE_INCARNATION"),
            client_connection.direct(environ),
        )
        return backend.streams.events(partial(backend.authenticator.is_still_valid, token), source)

    def _count_report(self, environ: WSGIEnvironment) -> bytes | None:
        backend, services = self._services()
        length = environ.get("CONTENT_LENGTH", "")
        encoding = environ.get("HTTP_CONTENT_ENCODING", "")
        if environ.get("CONTENT_TYPE") != JSON or encoding not in ("", GZIP):
            return None
        if not length.isdecimal() or int(length) > LARGE_BODY:
            return None
        try:
            token = _recognize(backend, environ)
            if token is None:
                return None
            place = sdk_environment(token)
            services.report_rates.take(token.id, int(length))
        except TidegateError:
            return None
        environ[RATE_TAKEN] = True
        try:
            body = environ["wsgi.input"].read(int(length))
        except RequestTimeout:
            return None  # as it will be for the route, which says so
        environ["wsgi.input"] = io.BytesIO(body)  # for the route
        try:
            if encoding:
                limit = backend.settings.report_limit
                body = services.decompress_report(token.id, body, len(body), limit)
                replace_body(environ, body)
            report = read_plain(body, token.name) if len(body) <= LARGE_BODY else None
            if report is None:
                # The route reads it again, which takes ten times as long as what was done here.
                return None
            reported, wanted = services.count_report(backend.store, place, report)
        except (TidegateError, HTTPException) as error:
            environ[REFUSAL] = error
            return None
        return msgspec.json.encode(
            {"version": reported.version, "ignored": reported.ignored, "seen_users": wanted}
        )

    def _services(self) -> tuple[Backend, Services]:
        extensions = self._app.extensions
        return cast(Backend, extensions[EXTENSION]), cast(Services, extensions[SERVICES])


def _is_plain(environ: WSGIEnvironment) -> bool:
    return (
        not environ.get("QUERY_STRING")
        and environ.get("HTTP_AUTHORIZATION", "").startswith(SCHEME)
        and "HTTP_X_REQUEST_ID" not in environ
        # The route writes a line for each request, and traces it.
        and not _log.isEnabledFor(logging.DEBUG)
        and not tracing.is_on()
    )


def _recognize(backend: Backend, environ: WSGIEnvironment) -> Token | None:
    """Return the token of a request that was seen before and may be used from its address."""
    authenticator = backend.authenticator
    token = authenticator.recognize(environ["HTTP_AUTHORIZATION"][len(SCHEME) :])
    if token is not None:
        authenticator.admit_from(token, environ.get("REMOTE_ADDR"))
    return token
