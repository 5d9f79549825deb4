"""A Tidegate server as commands see it: documents in and out, refusals as sentences.

urllib3 is imported with the first ``Server``: whoever only reads the help waits for none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote, urlencode

from tidegate_server.cli.target import Target
from tidegate_server.errors import FieldProblem, ServerRefused, ServerUnreachable

if TYPE_CHECKING:
    import urllib3

Json: TypeAlias = dict[str, Any]

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
"""A change is acknowledged once it is on the store's disk, which may take a while."""

LARGEST_PAGE = 500
AWAY = frozenset({502, 503, 504})
"""What a proxy says of a server that is away, and a server of its store."""


@dataclass(frozen=True, slots=True)
class Document:
    """A document as it was read; ``tag`` is its ETag, which an update has to bring back."""

    body: Json
    tag: str


@dataclass(frozen=True, slots=True)
class Listing:
    """Items of a list; ``more``: the list goes on after them."""

    items: list[Json]
    more: bool


class Server:
    """The server of a target. Methods take paths as ``project_path`` and the like make them.

    Every method raises ``ServerRefused`` when the server says no, and ``ServerUnreachable``
    when no server answers.
    """

    def __init__(self, target: Target) -> None:
        import urllib3

        self.target = target
        self._http = urllib3.PoolManager(
            headers={
                "Authorization": f"Bearer {target.token}",
                "Accept": "application/json",
                "User-Agent": "tidegate-cli",
            },
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=ANSWER_SECONDS),
            retries=False,
        )

    def close(self) -> None:
        """Let go of the connection; a server that stops would wait for it."""
        self._http.clear()

    def project_path(self, *parts: str) -> str:
        """A path of the target's project: ``project_path("flags", key)``."""
        return path("projects", self.target.project, *parts)

    def environment_path(self, *parts: str) -> str:
        """A path of the target's environment."""
        return self.project_path("environments", self.target.environment, *parts)

    def read(self, at: str) -> Document:
        """Read a document."""
        return self._request("GET", at)

    def find(self, at: str) -> Document | None:
        """Read a document; None: there is no such one."""
        try:
            return self.read(at)
        except ServerRefused as refused:
            if refused.status == 404:
                return None
            raise

    def ask(self, at: str, **query: str) -> Json:
        """Read what the server computes for a query."""
        return self._request("GET", f"{at}?{urlencode(query)}").body

    def post(self, at: str, body: Json) -> Json:
        """Make something, or do something to it."""
        return self._request("POST", at, body).body

    def put(self, at: str, body: Json, tag: str) -> Json:
        """Replace a document that has not changed since it had this ``tag``."""
        return self._request("PUT", at, body, tag).body

    def edit(self, at: str, change: Callable[[Json], Json]) -> tuple[Json, Json]:
        """Read a document, change it and write it back; returns it as read and as written.

        What someone else changes meanwhile is never overwritten: that is refused.
        """
        before = self.read(at)
        after = self.put(at, change(dict(before.body)), before.tag)
        return before.body, after

    def delete(self, at: str) -> None:
        """Delete a document as it is now."""
        self._request("DELETE", at, tag=self.read(at).tag)

    def list(self, at: str, most: int | None = None, **query: str) -> Listing:
        """Read a list, up to ``most`` items of it (None: all)."""
        items: list[Json] = []
        for page in self._pages(at, most, query):
            items += page["items"]
            if most is not None and len(items) >= most:
                more = len(items) > most or page["next_cursor"] is not None
                return Listing(items[:most], more)
        return Listing(items, more=False)

    def _pages(self, at: str, most: int | None, query: Mapping[str, str]) -> Iterator[Json]:
        asked = {**query, "limit": str(min(most or LARGEST_PAGE, LARGEST_PAGE))}
        while True:
            page = self._request("GET", f"{at}?{urlencode(asked)}").body
            yield page
            if page["next_cursor"] is None:
                return
            asked["cursor"] = page["next_cursor"]

    def _request(
        self, method: str, at: str, body: Json | None = None, tag: str | None = None
    ) -> Document:
        import urllib3

        headers = dict(self._http.headers)
        if tag is not None:
            headers["If-Match"] = tag
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            answer = self._http.request(
                method,
                self.target.url + at,
                body=None if body is None else json.dumps(body).encode(),
                headers=headers,
                redirect=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise ServerUnreachable(self._why_not(error, method)) from None
        content = _object(answer.data)
        if answer.status >= 400:
            raise self._refusal(answer.status, content)
        if answer.status == 204:
            return Document({}, "")
        if answer.status >= 300 or content is None:
            raise ServerUnreachable(self._not_tidegate(answer))
        return Document(content, answer.headers.get("ETag", ""))

    def _refusal(self, status: int, problem: Json | None) -> ServerRefused | ServerUnreachable:
        if problem is None or "detail" not in problem:
            words = f"{self.target.url} answers with status {status}, and not as Tidegate does"
            return (
                ServerUnreachable(f"{words}: it may be starting, or behind a proxy.")
                if status in AWAY
                else ServerRefused(f"{words}; is the address right?", status)
            )
        message = str(problem["detail"])
        if status in AWAY:
            return ServerUnreachable(f"{message} Try again in a moment.")
        if status == 412:
            message += " Nothing was changed; run the command again."
        elif status in (401, 403):
            message += f" (The token is from {self.target.token_from}.)"
        elif status >= 500:
            message += f" (request_id {problem.get('request_id')})"
        fields = [
            FieldProblem(str(each["pointer"]), str(each["detail"]))
            for each in problem.get("errors", ())
        ]
        return ServerRefused(message, status, *fields)

    def _why_not(self, error: urllib3.exceptions.HTTPError, method: str) -> str:
        from urllib3 import exceptions as kinds

        url = self.target.url
        if isinstance(error, kinds.NameResolutionError):
            return f"There is no machine of the name in {url}."
        if isinstance(error, kinds.NewConnectionError):
            return f"Nothing answers at {url}: {_last_words(error)}. Is `tidegate serve` running?"
        if isinstance(error, kinds.ConnectTimeoutError):
            return f"{url} did not take the connection in {CONNECT_SECONDS:.0f} s."
        if isinstance(error, kinds.SSLError):
            return f"{url} cannot be trusted: {_last_words(error)}."
        doubt = (
            "" if method == "GET" else " Whether it was done is not known; look before you repeat."
        )
        if isinstance(error, kinds.ReadTimeoutError):
            return f"{url} did not answer in {ANSWER_SECONDS:.0f} s.{doubt}"
        return f"The connection to {url} broke: {_last_words(error)}.{doubt}"

    def _not_tidegate(self, answer: urllib3.BaseHTTPResponse) -> str:
        url = self.target.url
        if 300 <= answer.status < 400:
            elsewhere = answer.headers.get("Location", "elsewhere")
            return f"{url} sends us to {elsewhere}; use that server's address itself."
        return f"{url} answers, but not as Tidegate does; is the address right?"


def path(*parts: str) -> str:
    """The path of something in the API; what people typed cannot leave its place in it."""
    return "/".join(("/api/v1", *(quote(part, safe="") for part in parts)))


def _object(data: bytes) -> Json | None:
    try:
        content = json.loads(data)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _last_words(error: Exception) -> str:
    """What went wrong at the bottom, in the system's words."""
    cause: BaseException = error
    while (inner := getattr(cause, "reason", None) or cause.__cause__) is not None:
        if not isinstance(inner, BaseException):
            break
        cause = inner
    said = getattr(cause, "strerror", None) or str(cause).rpartition(": ")[2]
    return str(said).strip().rstrip(".") or type(cause).__name__
