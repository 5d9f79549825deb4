"""The HTTP client of the commands.

urllib3 is imported with the first ``ApiClient``, so that `--help` does not wait for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn, TypeAlias
from urllib.parse import quote, urlencode

from tidegate_server.cli.target import Target
from tidegate_server.errors import FieldProblem, ServerRefused, ServerUnreachable, StartupRefused

if TYPE_CHECKING:
    import urllib3

Json: TypeAlias = dict[str, Any]

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
"""A change is acknowledged once it is on the store's disk, which may take a while."""

MAX_PAGE_SIZE = 500
UNAVAILABLE = frozenset({502, 503, 504})
"""Statuses of a proxy without its server, and of a server without its store."""

READABLE = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
"""What the reason in a header keeps as it is: every printable character of ASCII except %."""

NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "HTTP_REQUEST"})
"""OpenSSL's reasons when the other side answers with something that is not TLS."""


@dataclass(frozen=True, slots=True)
class Document:
    """A document and its ETag, which an update has to send back; ``cookie`` is a new session's."""

    body: Json
    etag: str
    cookie: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class ListResult:
    """Items of a list; ``has_more``: the list continues after them."""

    items: list[Json]
    has_more: bool


@dataclass(frozen=True, slots=True)
class Later:
    """How a command makes its change, if not at once.

    Attributes:
        proposal: why it is proposed; empty: it is not.
        at: when it is made, as text; empty: at once, or once it is approved.
        timezone: of ``at``, if that has no offset.
    """

    proposal: str = ""
    at: str = ""
    timezone: str = "UTC"


class Planned(Exception):
    """A change was not made but planned; ``text`` tells the user how."""

    def __init__(self, document: Json, text: str) -> None:
        super().__init__(document["id"])
        self.document = document
        self.text = text


def _proposed(request: Json) -> Planned:
    id, count = request["id"], request["required_approvals"]
    people = "another person" if count == 1 else f"{count} other people"
    return Planned(
        request,
        f"Change request {id}: nothing changed yet, {people} must approve it.\n"
        f"Show it: `tidegate change-request show {id}`. Once it is approved, apply it: "
        f"`tidegate change-request apply {id}`.",
    )


def _scheduled(schedule: Json) -> Planned:
    id, at = schedule["id"], schedule["next_run_at"][:19].replace("T", " ")
    return Planned(
        schedule,
        f"Scheduled change {id}: nothing changed yet, it runs at {at}Z.\n"
        f"Cancel it: `tidegate schedule cancel {id}`.",
    )


class ApiClient:
    """Sends requests to the server of a target.

    Every method raises ``ServerRefused`` when the server answers with an error, and
    ``ServerUnreachable`` when no Tidegate server answers.

    Attributes:
        target: the server, and the project and environment of the paths.
        seconds: how long to wait for an answer.
    """

    def __init__(
        self,
        target: Target,
        later: Later | None = None,
        session: Mapping[str, str] | None = None,
    ) -> None:
        """Connect to a target.

        Args:
            target: the server; one without a token is for signing in.
            later: how changes are made, if not at once.
            session: the headers of a session, instead of a token.
        """
        import urllib3

        self.target = target
        self.later = later or Later()
        self.seconds = READ_SECONDS
        self._http = urllib3.PoolManager(
            headers={
                "Accept": "application/json",
                "User-Agent": "tidegate-cli",
                **({"Authorization": f"Bearer {target.token}"} if target.token else {}),
                **(session or {}),
            },
            retries=False,
        )

    def close(self) -> None:
        """Close the connection; a server that stops would wait for it."""
        self._http.clear()

    def server_path(self, *parts: str) -> str:
        """Return a path of the API: ``server_path("projects")``."""
        return api_path(*parts)

    def project_path(self, *parts: str) -> str:
        """Return a path in the target's project: ``project_path("flags", key)``."""
        return api_path("projects", self.target.project, *parts)

    def environment_path(self, *parts: str) -> str:
        """Return a path in the target's environment."""
        return self.project_path("environments", self.target.environment, *parts)

    def get(self, path: str, **query: str) -> Document:
        """Read a document."""
        return self._request("GET", f"{path}?{urlencode(query)}" if query else path)

    def get_if_exists(self, path: str) -> Document | None:
        """Read a document; None if there is none."""
        try:
            return self.get(path)
        except ServerRefused as refused:
            if refused.status == 404:
                return None
            raise

    def post(self, path: str, body: Json | None, reason: str = "", etag: str | None = None) -> Json:
        """Create a document, or run an action.

        Args:
            path: of the list, or of the action.
            body: what to send; None: no body.
            reason: why, for the audit log.
            etag: the action is refused if the document has changed since it had this one.
        """
        return self._request("POST", path, body, etag, reason).body

    def sign_in(self, path: str, body: Json) -> Document:
        """Begin a session; the document has its cookie."""
        return self._request("POST", path, body)

    def end(self, path: str, reason: str = "", **query: str) -> Json:
        """Delete what has no revision, such as a session."""
        target = f"{path}?{urlencode(query)}" if query else path
        return self._request("DELETE", target, reason=reason).body

    def compute(self, path: str, body: Json) -> Json:
        """Return what the server computes from a body; changes nothing, so it is not proposed."""
        return self._request("POST", path, body, changes=False).body

    def upload(
        self,
        path: str,
        content: BinaryIO,
        headers: Mapping[str, str],
        reason: str = "",
        **query: str,
    ) -> Json:
        """Send the rest of a file as the body of a POST, piece by piece; return the answer.

        Args:
            path: where to send it.
            content: the file.
            headers: those that describe it.
            reason: why, for the audit log.
            query: the query of the request.

        Raises:
            StartupRefused: the change is to be proposed or scheduled, which no file can be.
        """
        if self.later.at or self.later.proposal:
            raise StartupRefused("What a file contains cannot be proposed or scheduled.")
        target = f"{path}?{urlencode(query)}" if query else path
        return self._send("POST", target, content, {**headers, **_reason_header(reason)}).body

    def put(self, path: str, body: Json, etag: str | None, reason: str = "") -> Json:
        """Replace a document, unless it has changed since it had this ``etag``, if any."""
        return self._request("PUT", path, body, etag, reason).body

    def edit(
        self, path: str, change: Callable[[Json], Json], reason: str = ""
    ) -> tuple[Json, Json]:
        """Read a document, change it and write it back; returns it before and after.

        The server refuses the write if someone else changes the document in between.
        """
        before = self.get(path)
        after = self.put(path, change(dict(before.body)), before.etag, reason)
        return before.body, after

    def delete(self, path: str, reason: str = "", **query: str) -> None:
        """Delete a document in its current revision."""
        etag = self.get(path).etag
        target = f"{path}?{urlencode(query)}" if query else path
        self._request("DELETE", target, etag=etag, reason=reason)

    def remove(self, path: str, **query: str) -> None:
        """Delete what a query names, and what has no revision."""
        self._request("DELETE", f"{path}?{urlencode(query)}")

    def list(self, path: str, limit: int | None = None, **query: str) -> ListResult:
        """Read a list, up to ``limit`` items of it (None: all)."""
        items: list[Json] = []
        for page in self._pages(path, limit, query):
            items += page["items"]
            if limit is not None and len(items) >= limit:
                has_more = len(items) > limit or page["next_cursor"] is not None
                return ListResult(items[:limit], has_more)
        return ListResult(items, has_more=False)

    def lines(self, path: str, **query: str) -> Iterator[Json]:
        """Yield the objects of an NDJSON response as they arrive."""
        import urllib3

        url = f"{self.target.url}{path}?{urlencode(query)}" if query else self.target.url + path
        try:
            timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=self.seconds)
            response = self._http.request(
                "GET", url, redirect=False, preload_content=False, timeout=timeout
            )
            try:
                if response.status != 200:
                    problem = _json_object(response.data)
                    if response.status >= 400:
                        raise self._refusal(response.status, problem)
                    raise ServerUnreachable(self._not_tidegate(response))
                for line in response:
                    if line.strip():
                        yield json.loads(line)
            finally:
                response.release_conn()
        except urllib3.exceptions.HTTPError as error:
            raise ServerUnreachable(self._connection_problem(error, "GET")) from None

    def _pages(self, path: str, limit: int | None, query: Mapping[str, str]) -> Iterator[Json]:
        page_query = {**query, "limit": str(min(limit or MAX_PAGE_SIZE, MAX_PAGE_SIZE))}
        while True:
            page = self.get(path, **page_query).body
            yield page
            if page["next_cursor"] is None:
                return
            page_query["cursor"] = page["next_cursor"]

    def _request(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        etag: str | None = None,
        reason: str = "",
        changes: bool = True,
    ) -> Document:
        if self.later.at and changes and method != "GET":
            return self._schedule(method, path, body, etag, reason)
        headers = _reason_header(reason)
        if etag is not None:
            headers["If-Match"] = etag
        if self.later.proposal and changes and method != "GET":
            headers["Tidegate-Propose"] = quote(self.later.proposal, safe=READABLE)
        if body is not None:
            headers["Content-Type"] = "application/json"
        return self._send(
            method, path, None if body is None else json.dumps(body).encode(), headers
        )

    def _send(
        self,
        method: str,
        path: str,
        body: bytes | BinaryIO | None,
        headers: Mapping[str, str],
    ) -> Document:
        import urllib3

        try:
            response = self._http.request(
                method,
                self.target.url + path,
                body=body,
                headers={**self._http.headers, **headers},
                redirect=False,
                timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=self.seconds),
            )
        except urllib3.exceptions.HTTPError as error:
            raise ServerUnreachable(self._connection_problem(error, method)) from None
        content = _json_object(response.data)
        if response.status >= 400:
            raise self._refusal(response.status, content)
        if response.status == 204:
            return Document({}, "")
        if response.status >= 300 or content is None:
            raise ServerUnreachable(self._not_tidegate(response))
        if response.status == 202:
            raise _proposed(content)
        cookie = response.headers.get("Set-Cookie", "").partition(";")[0]
        return Document(content, response.headers.get("ETag", ""), cookie)

    def _schedule(
        self, method: str, path: str, body: Json | None, etag: str | None, reason: str
    ) -> NoReturn:
        """Schedule a change instead of making it."""
        at_once = ApiClient(self.target, replace(self.later, at=""))
        in_body = body.get("reason", "") if body is not None else ""
        schedule = {
            "reason": reason or in_body or self.later.proposal,
            "operations": [{"method": method, "path": path, "body": body, "if_match": etag}],
            "at": self.later.at,
            "timezone": self.later.timezone,
        }
        try:
            raise _scheduled(at_once.post(self.project_path("scheduled-changes"), schedule))
        finally:
            at_once.close()

    def _refusal(self, status: int, problem: Json | None) -> ServerRefused | ServerUnreachable:
        if problem is None or "detail" not in problem:
            answer = f"{self.target.url} answers with status {status}, but not like Tidegate"
            return (
                ServerUnreachable(f"{answer}: it may be starting, or a proxy is in front of it.")
                if status in UNAVAILABLE
                else ServerRefused(f"{answer}. Check the address.", status)
            )
        message = str(problem["detail"])
        if status in UNAVAILABLE:
            return ServerUnreachable(f"{message} Try again in a moment.")
        if status == 412:
            message += " Nothing changed; run the command again."
        elif status in (401, 403) and self.target.token:
            message += f" (The token is from {self.target.token_from}.)"
        elif status >= 500:
            message += f" (request_id {problem.get('request_id')})"
        fields = [
            FieldProblem(str(each["pointer"]), str(each["detail"]))
            for each in problem.get("errors", ())
        ]
        slug = str(problem.get("type", "")).rpartition(":")[2]
        return ServerRefused(message, status, *fields, problem=slug)

    def _connection_problem(self, error: urllib3.exceptions.HTTPError, method: str) -> str:
        from http.client import BadStatusLine

        from urllib3 import exceptions

        url = self.target.url
        cause = _root_cause(error)
        if isinstance(error, exceptions.NameResolutionError):
            return f"There is no host of the name in {url}."
        if isinstance(error, exceptions.NewConnectionError):
            return f"Nothing answers at {url}: {_cause_text(cause)}. Is `tidegate serve` running?"
        if isinstance(error, exceptions.ConnectTimeoutError):
            return f"{url} did not accept the connection within {CONNECT_SECONDS:.0f} s."
        if isinstance(error, exceptions.SSLError):
            return _tls_problem(url, cause)
        if type(cause) is BadStatusLine:  # not its subclass RemoteDisconnected
            return f"{url} does not speak HTTP. Check the address."
        uncertain = (
            "" if method == "GET" else " The change may have been made; check before you retry."
        )
        if isinstance(error, exceptions.ReadTimeoutError):
            return f"{url} did not answer within {self.seconds:.0f} s.{uncertain}"
        return f"The connection to {url} was lost: {_cause_text(cause)}.{uncertain}"

    def _not_tidegate(self, response: urllib3.BaseHTTPResponse) -> str:
        url = self.target.url
        if 300 <= response.status < 400:
            location = response.headers.get("Location", "another address")
            return f"{url} redirects to {location}; use the server's own address."
        return f"{url} answers, but not like Tidegate. Check the address."


def api_path(*parts: str) -> str:
    """Return a path of the API; every part is quoted, so that it stays one part."""
    return "/".join(("/api/v1", *(quote(part, safe="") for part in parts)))


def _reason_header(reason: str) -> dict[str, str]:
    return {"Tidegate-Reason": quote(reason, safe=READABLE)} if reason else {}


def _json_object(data: bytes) -> Json | None:
    try:
        content = json.loads(data)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _root_cause(error: BaseException) -> BaseException:
    """Return the innermost error that an error was raised for."""
    while True:
        inner = (getattr(error, "reason", None), error.__cause__, *error.args)
        cause = next((each for each in inner if isinstance(each, BaseException)), None)
        if cause is None:
            return error
        error = cause


def _cause_text(error: BaseException) -> str:
    """Return what the system says about an error, without a full stop."""
    text = getattr(error, "strerror", None) or str(error).rpartition(": ")[2]
    return str(text).strip().rstrip(".") or type(error).__name__


def _tls_problem(url: str, error: BaseException) -> str:
    import ssl

    if isinstance(error, ssl.SSLCertVerificationError):
        return f"The certificate of {url} is not trusted: {error.verify_message}."
    reason = getattr(error, "reason", None) or type(error).__name__
    if reason in NOT_TLS:
        return f"{url}: The server does not speak TLS on this port: try http://"
    return f"The TLS handshake with {url} failed: {reason.lower().replace('_', ' ')}."
