"""One operation for each ASGI request: Starlette, FastAPI, Litestar, Quart and others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from tidegate.client import Client
from tidegate.context import Context
from tidegate.integrations.request_operations import RequestOperations
from tidegate.integrations.visitor_cookie import VISITOR, Visitor, VisitorCookie

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


LAST_MESSAGES: frozenset[str] = frozenset(
    {"http.response.body", "http.response.pathsend", "http.response.zerocopysend"}
)


class TidegateMiddleware:
    """Wraps an ASGI application.

    A response with a 5xx status is an error, and so are an exception that leaves the application
    and a response that it does not complete; everything else is ok. If the request is cancelled,
    or the visitor disconnects before the response is complete, it has no outcome. Web sockets
    pass through without an operation: open one for each message with ``client.operation``.

    When the server ends the application's lifespan, the middleware sends what has not been
    reported: some servers (uvicorn) end the process without Python's exit handlers. This also
    works for applications without a lifespan (Django).

    Args:
        app: the application.
        client: the client whose flags the application evaluates.
        context: returns the context of a request, given the ASGI scope; called at the first
            evaluation, never without one.
        visitor_cookie: the cookie that gives visitors a targeting key where ``context`` returns
            None; None: there is no such cookie.
    """

    def __init__(
        self,
        app: Application,
        client: Client,
        context: Callable[[Scope], Context | str | None] | None = None,
        visitor_cookie: VisitorCookie | None = None,
    ) -> None:
        self._app = app
        self._cookie = visitor_cookie
        self._client = client
        self._requests = RequestOperations(client, context)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; a request is served within an operation."""
        if scope["type"] == "lifespan":
            await self._run_lifespan(scope, receive, send)
        elif scope["type"] == "http":
            await self._serve_request(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _serve_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        visitor = None
        if self._cookie is not None:
            visitor = _visitor(self._cookie, scope)
            scope = {**scope, VISITOR: visitor}
        operation = self._requests.operation(scope, visitor)
        complete = disconnected = False

        async def watched_receive() -> Message:
            nonlocal disconnected
            message = await receive()
            if message["type"] == "http.disconnect" and not complete:
                disconnected = True
            return message

        async def watched_send(message: Message) -> None:
            nonlocal complete, disconnected
            if message["type"] == "http.response.start":
                if message["status"] >= 500:
                    operation.fail()
                if visitor is not None and (cookie := visitor.new_cookie()) is not None:
                    header = (b"set-cookie", cookie.encode())
                    message = {**message, "headers": [*message.get("headers", ()), header]}
            elif message["type"] in LAST_MESSAGES and not message.get("more_body", False):
                complete = True
            try:
                await send(message)
            except OSError:
                disconnected = True  # servers raise this since version 2.4 of the specification
                raise

        with operation:
            try:
                await self._app(scope, watched_receive, watched_send)
            except Exception as error:
                if disconnected and _is_disconnect(error):
                    operation.interrupt()
                raise
            if disconnected and not complete:
                operation.interrupt()
            elif not complete:
                operation.fail()  # the server makes a 500 of it, or cuts the connection

    async def _run_lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        received = False

        async def watched_receive() -> Message:
            nonlocal received
            received = True
            return await receive()

        async def watched_send(message: Message) -> None:
            if message["type"] in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
                # It blocks the event loop, which serves nothing else any more.
                self._client.flush()
            await send(message)

        try:
            await self._app(scope, watched_receive, watched_send)
        except Exception:
            if received:
                raise
            # The application has no lifespan: it raised before it received any message.
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await watched_send({"type": "lifespan.shutdown.complete"})


def _visitor(cookie: VisitorCookie, scope: Scope) -> Visitor:
    # HTTP/2 may divide the cookies into several headers.
    cookies = [value for name, value in scope["headers"] if name.lower() == b"cookie"]
    return cookie.visitor(
        b"; ".join(cookies).decode("latin-1"), https=scope.get("scheme") == "https"
    )


def _is_disconnect(error: BaseException) -> bool:
    """Return whether an error is how servers and frameworks say that the visitor has left."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_disconnect, error.exceptions))
    return isinstance(error, OSError) or type(error).__name__ == "ClientDisconnect"
