"""One operation per ASGI request: Starlette, FastAPI, Litestar, Quart and others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from tidegate.client import Client
from tidegate.context import NOBODY, Context

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


class TidegateMiddleware:
    """Wraps an ASGI application.

    A response with a 5xx status and an exception that leaves the application are errors,
    everything else is ok. A request that is cancelled, or whose client goes away before
    the response was complete, is neither. Web sockets pass through without an operation:
    open one for each message with ``client.operation``.

    When the server ends the application's lifespan, what has not been reported is sent: some
    servers (uvicorn) end the process afterwards without Python's exit handlers. An application
    that knows no lifespan (Django) need not learn it.

    Args:
        app: the application.
        client: whose flags the application asks for.
        context: returns whom the request is from; called with the ASGI scope when the
            first flag is asked for, never when none is.
    """

    def __init__(
        self,
        app: Application,
        client: Client,
        context: Callable[[Scope], Context] | None = None,
    ) -> None:
        self._app = app
        self._client = client
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; a request has an operation of its own."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = self._context
        operation = self._client.operation_of(lambda: context(scope) if context else NOBODY)
        complete = gone = False

        async def receive_and_look() -> Message:
            nonlocal gone
            message = await receive()
            if message["type"] == "http.disconnect" and not complete:
                gone = True
            return message

        async def send_and_look(message: Message) -> None:
            nonlocal complete, gone
            if message["type"] == "http.response.start":
                if message["status"] >= 500:
                    operation.fail()
            elif message["type"] == "http.response.body" and not message.get("more_body", False):
                complete = True
            try:
                await send(message)
            except OSError:
                gone = True  # how servers say it, by the specification's version 2.4
                raise

        with operation:
            try:
                await self._app(scope, receive_and_look, send_and_look)
            except Exception:
                if gone:
                    operation.cancel()
                raise
            if gone and not complete:
                operation.cancel()

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = False

        async def receive_and_look() -> Message:
            nonlocal asked
            asked = True
            return await receive()

        async def send_and_look(message: Message) -> None:
            if message["type"] in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
                # It waits for the network, when nothing else is served any more.
                self._client.flush()
            await send(message)

        try:
            await self._app(scope, receive_and_look, send_and_look)
        except Exception:
            if asked:
                raise
            # It does not even look what there is: a life of ours takes the place of none.
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send_and_look({"type": "lifespan.shutdown.complete"})
