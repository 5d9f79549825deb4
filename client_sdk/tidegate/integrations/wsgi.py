"""One operation for each WSGI request, from its start until its response is closed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from tidegate.client import Client
from tidegate.context import Context
from tidegate.integrations.request_operations import RequestOperations
from tidegate.integrations.visitor_cookie import VISITOR, VisitorCookie
from tidegate.operation import Operation

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class TidegateMiddleware:
    """Wraps a WSGI application.

    A response with a 5xx status is an error, and so is an exception that leaves the application,
    its response or the response's ``close``; everything else is ok. If the visitor disconnects
    before the response is complete, the request has no outcome.

    Args:
        app: the application.
        client: the client whose flags the application evaluates.
        context: returns the context of a request, given the WSGI environ; called at the first
            evaluation, never without one.
        visitor_cookie: the cookie that gives visitors a targeting key where ``context`` returns
            None; None: there is no such cookie.
    """

    def __init__(
        self,
        app: WSGIApplication,
        client: Client,
        context: Callable[[WSGIEnvironment], Context | str | None] | None = None,
        visitor_cookie: VisitorCookie | None = None,
    ) -> None:
        self._app = app
        self._cookie = visitor_cookie
        self._requests = RequestOperations(client, context)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request within an operation."""
        visitor = None
        if self._cookie is not None:
            https = environ.get("wsgi.url_scheme") == "https"
            visitor = self._cookie.visitor(environ.get("HTTP_COOKIE", ""), https=https)
            environ[VISITOR] = visitor
        operation = self._requests.operation(environ, visitor)

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            if status.startswith("5"):
                operation.fail()
            if visitor is not None and (cookie := visitor.new_cookie()) is not None:
                headers = [*headers, ("Set-Cookie", cookie)]
            return start_response(status, headers, *rest)

        operation.begin()
        try:
            response = self._app(environ, start)
        except BaseException as error:
            operation.end_with(error)
            raise
        wrapper = environ.get("wsgi.file_wrapper")
        if isinstance(wrapper, type) and isinstance(response, wrapper):
            # The server sends a file faster than through an iterator of ours.
            operation.end()
            return response
        return _Response(response, operation)


class _Response:
    """A response body that ends the operation when it is closed."""

    def __init__(self, body: Iterable[bytes], operation: Operation) -> None:
        self._body = body
        self._operation = operation
        self._complete = False

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._body
        except GeneratorExit:
            raise  # the server reads no more of it, and closes it
        except BaseException as error:
            self._operation.end_with(error)
            raise
        self._complete = True

    def close(self) -> None:
        """End the operation; WSGI servers call this at the end of every request."""
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        except BaseException as error:
            self._operation.end_with(error)
            raise
        if self._complete:
            self._operation.end()
        else:
            self._operation.interrupt()
