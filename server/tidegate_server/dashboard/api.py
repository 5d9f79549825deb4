"""The admin API, asked by a page in the name of its reader, without a network.

Each request goes through the application's own routes, so that a page can do exactly what its
reader may do, and an answer is what any client would get.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import IO, Any
from urllib.parse import quote, urlencode

from flask import Response, current_app, g, request
from werkzeug.datastructures import Headers
from werkzeug.test import EnvironBuilder

from tidegate_server.domain.callers import Caller
from tidegate_server.errors import Forbidden, Unauthenticated
from tidegate_server.web import session_cookies
from tidegate_server.web.backend import backend
from tidegate_server.web.inner_requests import inner_environ

PREFIX = "/api/v1"

KEPT = "kept_form"
"""The field of a form that was typed before its reader had to sign in again: it only shows it."""

SIGNED_IN_AGAIN = (
    "You are signed in again, and what you typed is here. Nothing was done yet: look at it, and "
    "send it once more."
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer: its JSON, its ETag for the next change, and where a new thing is."""

    body: Any
    etag: str
    status: HTTPStatus
    location: str = ""


class ApiProblem(Exception):
    """The API refused a request.

    Attributes:
        status: the HTTP status.
        slug: the kind of problem, the end of its ``type``.
        title: the kind of problem in words.
        detail: what is wrong and how to mend it.
        fields: the message for each bad field, by its JSON pointer.
    """

    def __init__(self, status: HTTPStatus, document: Mapping[str, Any]) -> None:
        super().__init__(document.get("detail", status.phrase))
        self.status = status
        self.slug = str(document.get("type", "")).rpartition(":")[2]
        self.title = str(document.get("title", status.phrase))
        self.detail = str(document.get("detail", ""))
        self.fields = {
            str(each["pointer"]): str(each["detail"]) for each in document.get("errors", ())
        }


def path(*parts: str) -> str:
    """Return a path of the admin API; each part is escaped."""
    return PREFIX + "".join(f"/{quote(part, safe='')}" for part in parts)


def get(*parts: str, **query: Any) -> Any:
    """Return the JSON of a document or a list.

    Raises:
        ApiProblem: the API refused it.
    """
    return ask("GET", path(*parts), query=query).body


def all_of(*parts: str, **query: Any) -> list[Any]:
    """Return every item of a list that is short, such as the environments of a project.

    Raises:
        ApiProblem: the API refused it.
    """
    items: list[Any] = []
    cursor: str | None = None
    while True:
        page = get(*parts, limit=100, cursor=cursor, **query)
        items += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return items


def get_if_allowed(*parts: str, **query: Any) -> Any | None:
    """Return the JSON of a document or a list, or None if there is none for this reader."""
    try:
        return get(*parts, **query)
    except ApiProblem as problem:
        if problem.status in (HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN):
            return None
        raise


def ask(
    method: str,
    address: str,
    *,
    query: Mapping[str, Any] | None = None,
    body: Any = None,
    if_match: str | None = None,
    reason: str = "",
) -> Answer:
    """Send a request to the API as the reader of the page.

    Args:
        method: the HTTP method.
        address: its path, as ``path`` makes it.
        query: the query string; parts that are None are left out.
        body: the JSON of the body; None: no body.
        if_match: the ETag of the document that is changed.
        reason: why, for the audit log.

    Raises:
        ApiProblem: the API refused it.
    """
    if method != "GET" and KEPT in request.form:
        raise ApiProblem(
            HTTPStatus.CONFLICT, {"title": "Signed in again", "detail": SIGNED_IN_AGAIN}
        )
    headers = Headers({"X-Request-ID": g.get("request_id", "")})
    if if_match is not None:
        headers["If-Match"] = if_match
    if reason:
        headers["Tidegate-Reason"] = quote(reason)
    if "proposal" in g and method != "GET":
        headers["Tidegate-Propose"] = quote(g.proposal)
    kept = {name: value for name, value in (query or {}).items() if value is not None}
    if "planned" in g and method != "GET":
        whole = f"{address}?{urlencode(kept)}" if kept else address
        operation = {"method": method, "path": whole, "body": body, "reason": reason}
        g.planned.append({**operation, "if_match": if_match})
        return Answer(None, "", HTTPStatus.ACCEPTED)
    environ = inner_environ(reader(), g.get("session"))
    return _answer(_send(method, address, kept, body, headers, environ))


@contextmanager
def proposing(reason: str) -> Iterator[None]:
    """Propose what the requests in this block would change, instead of changing it.

    An answer has then the status 202, and its body is the change request.
    """
    g.proposal = reason
    try:
        yield
    finally:
        del g.proposal


@contextmanager
def planning() -> Iterator[list[dict[str, Any]]]:
    """Keep what the requests in this block would change as operations, instead of sending them.

    Their answers are empty, with the status 202.
    """
    g.planned = []
    try:
        yield g.planned
    finally:
        del g.planned


def send_stream(
    address: str,
    stream: IO[bytes],
    content_type: str,
    *,
    query: Mapping[str, Any],
    reason: str = "",
) -> Answer:
    """Send a file to the API as the reader of the page, without reading all of it at once.

    Args:
        address: the path, as ``path`` makes it.
        stream: the file, which can seek.
        content_type: how it is written.
        query: the query string; parts that are None are left out.
        reason: why, for the audit log.

    Raises:
        ApiProblem: the API refused it.
    """
    headers = Headers({"X-Request-ID": g.get("request_id", ""), "Content-Type": content_type})
    if reason:
        headers["Tidegate-Reason"] = quote(reason)
    kept = {name: value for name, value in query.items() if value is not None}
    environ = inner_environ(reader(), g.get("session"))
    return _answer(_send("POST", address, kept, None, headers, environ, stream))


def _send(
    method: str,
    address: str,
    query: Mapping[str, Any],
    body: Any,
    headers: Headers,
    environ: Mapping[str, Any],
    stream: IO[bytes] | None = None,
) -> Response:
    """Return the application's response to a request within the process."""
    builder = EnvironBuilder(
        path=address,
        method=method,
        query_string=query,
        json=body,
        input_stream=stream,
        headers=headers,
        environ_overrides={
            "REMOTE_ADDR": request.remote_addr,
            "wsgi.url_scheme": request.scheme,
            "HTTP_HOST": request.host,
            **environ,
        },
    )
    try:
        inner = builder.get_environ()
    finally:
        builder.close()
    application = current_app._get_current_object()  # type: ignore[attr-defined]
    # A new application context first: the request within it has values of its own in ``g``.
    with application.app_context(), application.request_context(inner):
        response: Response = application.full_dispatch_request()
        response.get_data()
        return response


def ask_without_reader(method: str, address: str, body: Any = None) -> tuple[Answer, list[str]]:
    """Send a request to the API that needs nobody to be signed in, such as to sign in.

    Returns:
        The answer, and the cookies that it sets.

    Raises:
        ApiProblem: the API refused it.
    """
    headers = Headers({"X-Request-ID": g.get("request_id", "")})
    for name in ("Cookie", "Origin", "Sec-Fetch-Site", "User-Agent"):
        if name in request.headers:
            headers[name] = request.headers[name]
    if session_cookies.CSRF_FIELD in request.form:
        headers[session_cookies.CSRF_HEADER] = request.form[session_cookies.CSRF_FIELD]
    response = _send(method, address, {}, body, headers, {})
    cookies = response.headers.getlist("Set-Cookie")
    return _answer(response), cookies


def sign_in_methods() -> Any:
    """Return how people sign in: with a password, and with which identity providers."""
    return ask_without_reader("GET", path("sign-in"))[0].body


def reader() -> Caller:
    """Return who reads the page.

    Raises:
        ApiProblem: nobody is signed in, or a form does not come from this server's pages.
    """
    if "caller" not in g:
        try:
            if request.method not in session_cookies.SAFE_METHODS:
                # Without a cookie, too: whoever signs in then would find the form as theirs.
                session_cookies.require_own_origin()
            g.caller = backend().authenticator.caller_from_request()
        except Unauthenticated as error:
            raise ApiProblem(HTTPStatus.UNAUTHORIZED, {"detail": error.message}) from None
        except Forbidden as error:
            raise ApiProblem(HTTPStatus.FORBIDDEN, {"detail": error.message}) from None
    caller: Caller = g.caller
    return caller


def _answer(response: Response) -> Answer:
    status = HTTPStatus(response.status_code)
    body = response.get_json(silent=True)
    if status >= HTTPStatus.BAD_REQUEST:
        raise ApiProblem(status, body if isinstance(body, dict) else {})
    headers = response.headers
    return Answer(body, headers.get("ETag", ""), status, headers.get("Location", ""))
