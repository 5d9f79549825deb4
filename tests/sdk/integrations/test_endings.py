"""What each ending of an operation counts as: the tables of docs/sdk.md, row by row."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import celery
import gevent
import pytest
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.test import override_settings
from flask import Flask
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route
from tidegate import Client, Context
from tidegate.current_operation import current
from tidegate.integrations import asgi, django, flask, wsgi
from tidegate.integrations import celery as celery_integration
from werkzeug.test import create_environ, run_wsgi_app

from tests.sdk.integrations import django_settings
from tests.sdk.integrations.treatment_counts import SNAPSHOT, counted, counts

django_settings.configure()

ANN = Context("ann")
PAGE = Path(__file__).resolve().parents[3] / "docs" / "sdk.md"
COUNTED = {
    "ok": counts(1, 1, 0),
    "error": counts(1, 1, 1, failing=1),
    "no outcome": counts(1, 0, 0),
}

Ending = Callable[[Client], None]
Table = dict[str, tuple[str, dict[str, Ending]]]
"""What is counted for each row, and the endings that the row means."""


def ask(client: Client) -> None:
    client.boolean("checkout", False)


class Abort(BaseException):
    """An exception of a library, made to pass ``except Exception``."""


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


EXITS: list[BaseException] = [
    SystemExit(), SystemExit(0), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError(),
    gevent.GreenletExit(),
]  # fmt: skip
ONLY_EXITS: list[BaseException] = [
    BaseExceptionGroup("", [asyncio.CancelledError(), KeyboardInterrupt()]),
    BaseExceptionGroup("", [BaseExceptionGroup("", [SystemExit(0)]), asyncio.CancelledError()]),
]
MIXED: list[BaseException] = [
    BaseExceptionGroup("", [asyncio.CancelledError(), ValueError()]),
    BaseExceptionGroup("", [BaseExceptionGroup("", [SystemExit(0), ValueError()])]),
    BaseExceptionGroup("", [SystemExit(0), SystemExit(1)]),
    ExceptionGroup("", [ValueError(), KeyError()]),
    caused(SystemExit(0), ValueError()),
    caused(asyncio.CancelledError(), caused(KeyboardInterrupt(), ValueError())),
    caused(BaseExceptionGroup("", [SystemExit(0)]), ValueError()),
]


# Plain use


def leaves(error: BaseException) -> Ending:
    def end(client: Client) -> None:
        with contextlib.suppress(BaseException), client.operation(ANN):
            ask(client)
            raise error

    return end


def block_ends(client: Client) -> None:
    with client.operation(ANN):
        ask(client)


def failed_and(error: BaseException) -> Ending:
    def end(client: Client) -> None:
        with contextlib.suppress(BaseException), client.operation(ANN) as operation:
            ask(client)
            operation.fail()
            raise error

    return end


def raises_in_finally(client: Client) -> None:
    with contextlib.suppress(BaseException), client.operation(ANN):
        try:
            ask(client)
            sys.exit()
        finally:
            raise ValueError("late")


def held(client: Client) -> Iterator[int]:
    with client.operation(ANN):
        ask(client)
        yield 1
        ask(client)
        yield 2


async def held_async(client: Client) -> AsyncIterator[int]:
    with client.operation(ANN):
        ask(client)
        await asyncio.sleep(0)
        yield 1
        await asyncio.sleep(0)


def thrown_into_generator(client: Client) -> None:
    pieces: Any = held(client)
    next(pieces)
    with pytest.raises(ValueError, match="thrown"):
        pieces.throw(ValueError("thrown"))


def generator_is_read(client: Client) -> None:
    assert list(held(client)) == [1, 2]


def async_generator_is_read(client: Client) -> None:
    async def read() -> None:
        assert [piece async for piece in held_async(client)] == [1]

    asyncio.run(read())


def generator_is_dropped(client: Client) -> None:
    pieces = held(client)
    next(pieces)
    del pieces


def async_generator_is_closed_in_another_task(client: Client) -> None:
    async def close() -> None:
        pieces: Any = held_async(client)
        await anext(pieces)
        await asyncio.create_task(pieces.aclose())
        assert client.boolean("absent", False) is False

    asyncio.run(close())


def task_outlives_it(client: Client) -> None:
    async def work() -> None:
        async def late() -> None:
            await asyncio.sleep(0.01)
            for _ in range(3):
                ask(client)
            raise ValueError

        with client.operation(ANN):
            task = asyncio.create_task(late())
        with contextlib.suppress(ValueError):
            await task

    asyncio.run(work())


def group_of_tasks(client: Client) -> None:
    """The siblings of a task that fails are cancelled."""

    async def fail() -> None:
        raise ValueError

    async def work() -> None:
        with client.operation(ANN):
            ask(client)
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(60))
                group.create_task(fail())

    with pytest.raises(ExceptionGroup):
        asyncio.run(work())


def timed_out(client: Client) -> None:
    async def work() -> None:
        with client.operation(ANN):
            ask(client)
            async with asyncio.timeout(0.001):
                await asyncio.sleep(60)

    with pytest.raises(TimeoutError):
        asyncio.run(work())


def timed_out_by_gevent(client: Client) -> None:
    with contextlib.suppress(BaseException), client.operation(ANN):
        ask(client)
        with gevent.Timeout(0.001):
            gevent.sleep(60)


PLAIN: Table = {
    "The block ends": (
        "ok",
        {
            "block": block_ends,
            "generator": generator_is_read,
            "async generator": async_generator_is_read,
        },
    ),
    "An exception leaves it, also from `finally` or a task group": (
        "error",
        {
            "error": leaves(ValueError()),
            "finally": raises_in_finally,
            "generator": thrown_into_generator,
            "task group": group_of_tasks,
            "asyncio.timeout": timed_out,
        },
    ),
    "You called `fail()`, whatever leaves it": (
        "error",
        {repr(each): failed_and(each) for each in EXITS},
    ),
    "An exit with the code 0, an interrupt, a cancelled task or a closed generator": (
        "no outcome",
        {repr(each): leaves(each) for each in [*EXITS, *ONLY_EXITS]}
        | {
            "dropped generator": generator_is_dropped,
            "async generator closed elsewhere": async_generator_is_closed_in_another_task,
        },
    ),
    "An exit with another code, or another `BaseException` (`gevent.Timeout`)": (
        "error",
        {
            "exit 1": leaves(SystemExit(1)),
            "exit with a message": leaves(SystemExit("no disk")),
            "own": leaves(Abort()),
            "gevent.Timeout": timed_out_by_gevent,
        },
    ),
    "An exit or a cancellation in a group with an error, or raised `from` one": (
        "error",
        {repr(each): leaves(each) for each in MIXED},
    ),
    "A task that outlives it evaluates a flag, whether or not the task fails": (
        "no outcome",
        {"task": task_outlives_it},
    ),
}


# WSGI and Flask


def serve_wsgi(app: Any, client: Client, *, pieces: int | None = None, close: bool = True) -> None:
    """Serve one request as a server does, which reads so many pieces of the response."""
    middleware = wsgi.TidegateMiddleware(app, client, lambda environ: ANN)
    response: Any = middleware({}, lambda *_: lambda piece: None)
    try:
        reading = iter(response)
        for _ in range(1_000 if pieces is None else pieces):
            if next(reading, None) is None:
                break
    finally:
        if close:
            response.close()


class Body:
    """A response that may raise anything while it is read or closed."""

    def __init__(
        self, reading: BaseException | None = None, closing: BaseException | None = None
    ) -> None:
        self._reading, self._closing = reading, closing

    def __iter__(self) -> Iterator[bytes]:
        yield b"one"
        if self._reading is not None:
            raise self._reading
        yield b"two"

    def close(self) -> None:
        if self._closing is not None:
            raise self._closing


def wsgi_request(
    *,
    status: str = "200 OK",
    calling: BaseException | None = None,
    reading: BaseException | None = None,
    closing: BaseException | None = None,
    pieces: int | None = None,
) -> Ending:
    def end(client: Client) -> None:
        def app(environ: Any, start_response: Any) -> Iterable[bytes]:
            ask(client)
            if calling is not None:
                raise calling
            start_response(status, [])
            return Body(reading, closing)

        leaving = calling or closing or reading
        with contextlib.nullcontext() if leaving is None else pytest.raises(type(leaving)):
            serve_wsgi(app, client, pieces=pieces)

    return end


WSGI: Table = {
    "A response is complete": ("ok", {"200": wsgi_request(), "404": wsgi_request(status="404 No")}),
    "A status of 500 or more": (
        "error",
        {"500": wsgi_request(status="500 Oops"), "left": wsgi_request(status="503 No", pieces=1)},
    ),
    "An exception leaves the application, its response or the response's `close`": (
        "error",
        {
            "call": wsgi_request(calling=ValueError()),
            "stream": wsgi_request(reading=ValueError()),
            "close": wsgi_request(closing=ValueError()),
            "close of one that the visitor left": wsgi_request(closing=ValueError(), pieces=1),
        },
    ),
    "gunicorn aborts a worker that takes too long (`SystemExit` with the code 1)": (
        "error",
        {
            "call": wsgi_request(calling=SystemExit(1)),
            "stream": wsgi_request(reading=SystemExit(1)),
            "close": wsgi_request(closing=SystemExit(1)),
        },
    ),
    "The client disconnects before the response is complete": (
        "no outcome",
        {"unread": wsgi_request(pieces=0), "one piece": wsgi_request(pieces=1)},
    ),
    "The worker is stopped: an exit with the code 0, an interrupt": (
        "no outcome",
        {
            "call": wsgi_request(calling=SystemExit(0)),
            "stream": wsgi_request(reading=KeyboardInterrupt()),
        },
    ),
}


def flask_request(
    *, view: Callable[[Client], Any], teardown: BaseException | None = None, pieces: int = 1_000
) -> Ending:
    def end(client: Client) -> None:
        app = Flask(__name__)
        app.config["PROPAGATE_EXCEPTIONS"] = False
        flask.Tidegate(app, client, lambda: ANN)
        app.get("/")(lambda: view(client))

        @app.teardown_request
        def tear_down(error: BaseException | None) -> None:
            if teardown is not None:
                raise teardown

        environ = create_environ(errors_stream=io.StringIO())
        with contextlib.suppress(BaseException):
            response, _, _ = run_wsgi_app(app, environ)
            try:
                for _, _ in zip(range(pieces), response, strict=False):
                    pass
            finally:
                response.close()  # type: ignore[attr-defined]

    return end


def answers(status: int = 200) -> Callable[[Client], Any]:
    def view(client: Client) -> Any:
        ask(client)
        return "", status

    return view


def view_raises(error: BaseException) -> Callable[[Client], Any]:
    def view(client: Client) -> Any:
        ask(client)
        raise error

    return view


def streams(error: BaseException | None = None) -> Callable[[Client], Any]:
    def view(client: Client) -> Any:
        ask(client)

        def pieces() -> Iterator[str]:
            yield "one"
            if error is not None:
                raise error
            yield "two"

        return Flask.response_class(pieces())

    return view


def closer_raises(client: Client) -> Any:
    ask(client)
    response = Flask.response_class("")

    def fail() -> None:
        raise ValueError

    response.call_on_close(fail)
    return response


FLASK: Table = {
    "A response is complete": (
        "ok",
        {
            "200": flask_request(view=answers()),
            "404": flask_request(view=answers(404)),
            "stream": flask_request(view=streams()),
        },
    ),
    "A status of 500 or more, or an exception in a view, a stream, a teardown or `call_on_close`": (
        "error",
        {
            "503": flask_request(view=answers(503)),
            "view": flask_request(view=view_raises(ValueError())),
            "stream": flask_request(view=streams(ValueError())),
            "teardown": flask_request(view=answers(), teardown=ValueError()),
            "call_on_close": flask_request(view=closer_raises),
        },
    ),
    "gunicorn aborts a worker that takes too long": (
        "error",
        {
            "view": flask_request(view=view_raises(SystemExit(1))),
            "stream": flask_request(view=streams(SystemExit(1))),
        },
    ),
    "The client disconnects before the response is complete, or the worker is stopped": (
        "no outcome",
        {
            "leaves": flask_request(view=streams(), pieces=1),
            "stops": flask_request(view=view_raises(SystemExit(0))),
        },
    ),
}


# ASGI

START = {"type": "http.response.start", "status": 200, "headers": []}
BODY = {"type": "http.response.body", "body": b"all"}
PIECE = {"type": "http.response.body", "body": b"one", "more_body": True}
GONE = {"type": "http.disconnect"}


async def never() -> dict[str, Any]:
    await asyncio.sleep(60)
    return {}


async def gone() -> dict[str, Any]:
    return GONE


async def swallow(message: Any) -> None:
    pass


def asgi_request(
    *messages: dict[str, Any],
    leaving: BaseException | None = None,
    disconnected: bool = False,
    send: Callable[[Any], Any] = swallow,
) -> Ending:
    """The application sends the messages, perhaps sees the visitor leave, and ends."""

    def end(client: Client) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            ask(client)
            for message in messages:
                await send(message)
            if disconnected:
                assert await receive() == GONE
            if leaving is not None:
                raise leaving

        async def serve() -> None:
            middleware = asgi.TidegateMiddleware(app, client, lambda scope: ANN)
            scope = {"type": "http", "headers": []}
            await middleware(scope, gone if disconnected else never, send)
            assert current.get() is None

        with contextlib.suppress(BaseException):
            asyncio.run(serve())

    return end


def starlette_request(
    endpoint: Callable[[Client, Request], Any], *, leaves: bool = False
) -> Ending:
    """A request of a real framework, whose visitor may leave after the first piece."""

    def end(client: Client) -> None:
        left = asyncio.Event()

        async def view(request: Request) -> Any:
            return await endpoint(client, request)

        async def receive() -> Any:
            if not leaves:
                return await never()
            await left.wait()
            return GONE

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                left.set()

        app = asgi.TidegateMiddleware(
            Starlette(routes=[Route("/", view)]), client, lambda scope: ANN
        )
        scope = {
            "type": "http", "method": "GET", "path": "/", "raw_path": b"/", "query_string": b"",
            "headers": [], "asgi": {"spec_version": "2.3"},
        }  # fmt: skip
        with contextlib.suppress(BaseException):
            asyncio.run(app(scope, receive, send))

    return end


async def plain_text(client: Client, request: Request) -> Any:
    ask(client)
    return PlainTextResponse("all")


def stream_of(
    *, error: BaseException | None = None, background: BaseException | None = None, wait: float = 0
) -> Callable[[Client, Request], Any]:
    async def endpoint(client: Client, request: Request) -> Any:
        async def pieces() -> AsyncIterator[bytes]:
            ask(client)
            yield b"one"
            await asyncio.sleep(wait)
            if error is not None:
                raise error

        async def later() -> None:
            if background is not None:
                raise background

        response = StreamingResponse(pieces())
        response.background = later  # type: ignore[assignment]
        return response

    return endpoint


ASGI: Table = {
    "A response is complete": (
        "ok",
        {
            "whole": asgi_request(START, BODY),
            "file": asgi_request(START, {"type": "http.response.pathsend", "path": "/file"}),
            "left later": asgi_request(START, BODY, disconnected=True),
            "Starlette": starlette_request(plain_text),
            "Starlette's stream": starlette_request(stream_of()),
        },
    ),
    "A status of 500 or more, or an exception, also in a stream or a background task": (
        "error",
        {
            "503": asgi_request({**START, "status": 503}, BODY),
            "503 and left": asgi_request({**START, "status": 503}, PIECE, disconnected=True),
            "raises": asgi_request(leaving=ValueError()),
            "raises in a stream": asgi_request(START, PIECE, leaving=ValueError()),
            "raises after the response": asgi_request(START, BODY, leaving=ValueError()),
            "group": asgi_request(leaving=ExceptionGroup("", [OSError(), ValueError()])),
            "Starlette's stream": starlette_request(stream_of(error=ValueError())),
            "Starlette's background task": starlette_request(stream_of(background=ValueError())),
        },
    ),
    "The application returns without a complete response": (
        "error",
        {"nothing": asgi_request(), "a start": asgi_request(START), "a part": asgi_request(PIECE)},
    ),
    "The client disconnects before the response is complete": (
        "no outcome",
        {
            "returns": asgi_request(START, PIECE, disconnected=True),
            "raises": asgi_request(START, disconnected=True, leaving=OSError()),
            "group": asgi_request(
                START, disconnected=True, leaving=ExceptionGroup("", [ConnectionResetError()])
            ),
            "Starlette's stream": starlette_request(stream_of(wait=60), leaves=True),
        },
    ),
    "The client disconnects, and the application fails with an error of its own": (
        "error",
        {
            "error": asgi_request(START, disconnected=True, leaving=ValueError()),
            "mixed": asgi_request(
                disconnected=True, leaving=ExceptionGroup("", [OSError(), ValueError()])
            ),
        },
    ),
    "The request is cancelled, or the server is stopped": (
        "no outcome",
        {
            "cancelled": asgi_request(START, PIECE, leaving=asyncio.CancelledError()),
            "stopped": asgi_request(leaving=SystemExit(0)),
        },
    ),
}


# Django


def django_response(
    leaving: BaseException | None, status: int, stream: BaseException | bool, kind: str
) -> HttpResponseBase:
    if leaving is not None:
        raise leaving
    if stream is False:
        return HttpResponse(status=status)

    def pieces() -> Iterator[bytes]:
        yield b"one"
        if isinstance(stream, BaseException):
            raise stream
        yield b"two"

    async def async_pieces() -> AsyncIterator[bytes]:
        for piece in pieces():
            yield piece

    return StreamingHttpResponse(pieces() if kind == "sync" else async_pieces(), status=status)


def django_request(
    kind: str,
    *,
    leaving: BaseException | None = None,
    status: int = 200,
    stream: BaseException | bool = False,
    pieces: int = 1_000,
) -> Ending:
    """One request through the middleware, read like Django's handlers read it."""

    def end(client: Client) -> None:
        def view(request: HttpRequest) -> HttpResponseBase:
            ask(client)
            return django_response(leaving, status, stream, kind)

        async def async_view(request: HttpRequest) -> HttpResponseBase:
            return view(request)

        def serve() -> None:
            response: Any = django.TidegateMiddleware(view)(HttpRequest())
            try:
                for _, _ in zip(range(pieces), response, strict=False):
                    pass
            finally:
                response.close()

        async def serve_async() -> None:
            response: Any = await django.TidegateMiddleware(async_view)(HttpRequest())
            try:
                if response.streaming:
                    async with contextlib.aclosing(aiter(response)) as content:
                        for _ in range(pieces):
                            await anext(content)
            except StopAsyncIteration:
                pass
            finally:
                response.close()

        options = {"client": client, "context": lambda request: ANN}
        with override_settings(TIDEGATE=options), contextlib.suppress(BaseException):
            serve() if kind == "sync" else asyncio.run(serve_async())

    return end


def in_both_kinds(**options: Any) -> dict[str, Ending]:
    return {kind: django_request(kind, **options) for kind in ("sync", "async")}


def named(name: str, endings: dict[str, Ending]) -> dict[str, Ending]:
    return {f"{name} {kind}": ending for kind, ending in endings.items()}


DJANGO: Table = {
    "A response or a stream is complete": (
        "ok",
        named("response", in_both_kinds())
        | named("404", in_both_kinds(status=404))
        | named("stream", in_both_kinds(stream=True)),
    ),
    "A status of 500 or more, or an exception in a view or a stream": (
        "error",
        named("500", in_both_kinds(status=500))
        | named("500 and left", in_both_kinds(status=500, stream=True, pieces=1))
        | named("raises", in_both_kinds(leaving=ValueError()))
        | named("stream", in_both_kinds(stream=ValueError()))
        | named("group", in_both_kinds(stream=BaseExceptionGroup("", [*EXITS, ValueError()]))),
    ),
    "gunicorn aborts a worker that takes too long": (
        "error",
        named("view", in_both_kinds(leaving=SystemExit(1)))
        | named("stream", in_both_kinds(stream=SystemExit(1))),
    ),
    "The client disconnects before a stream is complete, or the request is cancelled": (
        "no outcome",
        named("leaves", in_both_kinds(stream=True, pieces=1))
        | named("cancelled view", {"async": django_request("async", leaving=EXITS[4])})
        | named("cancelled stream", {"async": django_request("async", stream=EXITS[4])}),
    ),
    "The worker is stopped: an exit with the code 0, an interrupt": (
        "no outcome",
        named("view", in_both_kinds(leaving=SystemExit(0)))
        | named("stream", in_both_kinds(stream=KeyboardInterrupt())),
    ),
}


# Celery


def celery_task(
    leaving: BaseException | None = None,
    *,
    throw: bool = False,
    limit: float | None = None,
    body: Callable[[Any], None] = lambda task: None,
) -> Ending:
    def end(client: Client) -> None:
        app = celery.Celery()
        celery_integration.install(client, lambda task: ANN)

        def work(task: Any) -> None:
            ask(client)
            body(task)
            if leaving is not None:
                raise leaving

        task = app.task(work, bind=True, time_limit=limit, max_retries=0)
        with contextlib.suppress(BaseException):
            task.apply(throw=throw)
        assert current.get() is None

    return end


def retry_later(task: Any) -> None:
    raise task.retry(countdown=0, max_retries=5)


def retry_no_more(task: Any) -> None:
    raise task.retry(exc=ValueError())


STOPPED = SystemExit(15 - 256)
"""What Celery raises in a process that it stops with SIGTERM."""

CELERY: Table = {
    "A task succeeds": ("ok", {"task": celery_task()}),
    "A task fails for good, also at its soft time limit": (
        "error",
        {
            "raises": celery_task(ValueError()),
            "raises and is called at once": celery_task(ValueError(), throw=True),
            "limit": celery_task(SoftTimeLimitExceeded()),
            "no more retries": celery_task(body=retry_no_more),
            "gevent.Timeout": celery_task(gevent.Timeout(1)),
        },
    ),
    "A task reaches its hard time limit, and Celery stops its process": (
        "error",
        {"limit": celery_task(STOPPED, limit=0.5)},
    ),
    "A task exits with a code other than 0": ("error", {"exit": celery_task(SystemExit(1))}),
    "A task is ignored, rejected or revoked, or its worker is stopped": (
        "no outcome",
        {
            "ignored": celery_task(Ignore()),
            "rejected": celery_task(Reject()),
            "rejected at once": celery_task(Reject(), throw=True),
            "stopped": celery_task(STOPPED),
            "stopped long before its limit": celery_task(STOPPED, limit=60),
            "exit": celery_task(SystemExit(0)),
        },
    ),
}


TABLES = {
    "Plain use": PLAIN, "WSGI": WSGI, "Flask": FLASK, "ASGI": ASGI, "Django": DJANGO,
    "Celery": CELERY,
}  # fmt: skip

ROWS = [
    pytest.param(outcome, ending, id=f"{integration}: {row}: {name}")
    for integration, table in TABLES.items()
    for row, (outcome, endings) in table.items()
    for name, ending in endings.items()
]


@pytest.mark.parametrize(("outcome", "ending"), ROWS)
def test_an_ending_is_counted_as_the_page_says(
    outcome: str, ending: Ending, request: pytest.FixtureRequest
) -> None:
    client = Client.offline(SNAPSHOT)
    ending(client)
    assert counted(client) == COUNTED[outcome]
    assert current.get() is None


def test_the_page_has_every_row() -> None:
    page = PAGE.read_text().partition("## How an operation ends\n")[2]
    for integration, table in TABLES.items():
        text = page.partition(f"| {integration} |")[2].partition("\n\n")[0]
        rows = re.findall(r"^\| (.+) \| (ok|error|no outcome) \|$", text, re.MULTILINE)
        assert dict(rows) == {row: outcome for row, (outcome, _) in table.items()}


def test_a_retried_task_counts_once() -> None:
    """The last attempt has the outcome; the earlier ones are exposures."""
    client = Client.offline(SNAPSHOT)
    celery_task(body=lambda task: None if task.request.retries else retry_later(task))(client)
    assert counted(client) == counts(2, 1, 0)
