from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient
from tidegate import Client, Context
from tidegate.integrations.asgi import Scope, TidegateMiddleware

from tests.sdk.conftest import Connect
from tests.sdk.integrations.treatment_counts import SNAPSHOT, counted, counts
from tests.sdk.server import Environment


def visitor(scope: Scope) -> Context:
    headers = dict(scope["headers"])
    return Context(headers.get(b"visitor", b"nobody").decode())


def application(client: Client) -> FastAPI:
    app = FastAPI()
    app.add_middleware(TidegateMiddleware, client=client, context=visitor)

    @app.get("/async")
    async def asked_in_a_coroutine() -> bool:
        await asyncio.sleep(0)
        return client.boolean("checkout", False)

    @app.get("/thread")
    def asked_in_a_thread() -> bool:
        return client.boolean("checkout", False)

    @app.get("/plain")
    async def not_asked() -> str:
        return "nothing"

    @app.get("/missing")
    async def missing() -> None:
        client.boolean("checkout", False)
        raise HTTPException(404)

    @app.get("/unavailable")
    async def unavailable() -> None:
        client.boolean("checkout", False)
        raise HTTPException(503)

    @app.get("/broken")
    async def broken() -> None:
        client.boolean("checkout", False)
        raise RuntimeError("a bug")

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def parts() -> AsyncIterator[str]:
            yield "one"
            client.boolean("checkout", False)
            yield "two"

        return StreamingResponse(parts())

    return app


REQUEST = {"type": "http", "headers": []}


@pytest.fixture
def client() -> Client:
    return Client.offline(SNAPSHOT)


@pytest.fixture
def browser(client: Client) -> TestClient:
    return TestClient(application(client), raise_server_exceptions=False)


@pytest.mark.parametrize(
    ("path", "status", "expected"),
    [
        ("/async", 200, counts(1, 1, 0)),
        ("/thread", 200, counts(1, 1, 0)),
        ("/plain", 200, counts(0, 0, 0)),
        ("/missing", 404, counts(1, 1, 0)),
        ("/unavailable", 503, counts(1, 1, 1, 1)),
        ("/broken", 500, counts(1, 1, 1, 1)),
        ("/stream", 200, counts(1, 1, 0)),
    ],
)
def test_outcomes_follow_the_status(
    browser: TestClient, client: Client, path: str, status: int, expected: dict[str, int]
) -> None:
    assert browser.get(path, headers={"visitor": "ana"}).status_code == status
    assert counted(client) == expected


def test_concurrent_requests_have_their_own_operations(client: Client) -> None:
    async def ask(name: str) -> None:
        async def app(scope: Scope, receive: Any, send: Any) -> None:
            await asyncio.sleep(0.01)
            client.boolean("checkout", False)
            status = 500 if name == "bob" else 200
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        wrapped = TidegateMiddleware(app, client, visitor)
        scope = {"type": "http", "headers": [(b"visitor", name.encode())]}
        await wrapped(scope, never, swallow)

    async def everyone() -> None:
        await asyncio.gather(*(ask(name) for name in ("ana", "bob", "carla")))

    asyncio.run(everyone())
    assert counted(client) == counts(3, 3, 1, 1)


async def never() -> dict[str, Any]:
    await asyncio.sleep(60)
    return {}


async def swallow(_: Any) -> None:
    return None


def test_a_cancelled_request_has_no_outcome(client: Client) -> None:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        client.boolean("checkout", False)
        await asyncio.sleep(60)

    async def cancelled() -> None:
        scope = {"type": "http", "headers": []}
        task = asyncio.create_task(TidegateMiddleware(app, client)(scope, never, swallow))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert counted(client) == counts(1, 0, 0)


def test_a_request_whose_visitor_disconnects_has_no_outcome(client: Client) -> None:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        client.boolean("checkout", False)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        assert (await receive())["type"] == "http.disconnect"
        raise OSError("the peer is gone")

    async def disconnect() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def serve() -> None:
        with pytest.raises(OSError, match="gone"):
            await TidegateMiddleware(app, client)(REQUEST, disconnect, swallow)

    asyncio.run(serve())
    assert counted(client) == counts(1, 0, 0)


def test_a_disconnect_after_the_whole_response_changes_nothing(client: Client) -> None:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        client.boolean("checkout", False)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"all"})
        await receive()

    async def disconnect() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    asyncio.run(TidegateMiddleware(app, client)(REQUEST, disconnect, swallow))
    assert counted(client) == counts(1, 1, 0)


def test_lifespan_and_web_sockets_pass_through(client: Client) -> None:
    seen = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        seen.append(scope["type"])
        client.boolean("checkout", False, Context("ana"))

    for kind in ("lifespan", "websocket"):
        asyncio.run(TidegateMiddleware(app, client)({"type": kind}, never, swallow))
    assert seen == ["lifespan", "websocket"]
    assert counted(client) == counts(2, 0, 0)


def test_a_send_that_raises_after_a_disconnect_makes_no_outcome(client: Client) -> None:
    async def broken_pipe(message: Any) -> None:
        if message["type"] == "http.response.body":
            raise OSError("the peer is gone")

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        client.boolean("checkout", False)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"all"})

    with pytest.raises(OSError, match="gone"):
        asyncio.run(TidegateMiddleware(app, client)(REQUEST, never, broken_pipe))
    assert counted(client) == counts(1, 0, 0)


async def without_lifespan(scope: Scope, receive: Any, send: Any) -> None:
    raise ValueError(f"not {scope['type']}")


@pytest.mark.parametrize(
    "app", [FastAPI(), without_lifespan], ids=["FastAPI", "without a lifespan"]
)
def test_the_end_of_the_lifespan_sends_a_report(
    environment: Environment, connect: Connect, app: Any
) -> None:
    """The client works afterwards: tests may start an application several times."""
    client = connect()
    assert client.wait_until_ready()
    events = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}] * 2)
    sent: list[str] = []

    async def receive() -> dict[str, Any]:
        return next(events)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    for times in (1, 2):
        before = len(environment.reports)
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        asyncio.run(TidegateMiddleware(app, client)(scope, receive, send))
        assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"] * times
        assert any(each["leaving"] for each in environment.reports[before:])
    assert client.status().state == "connected"
