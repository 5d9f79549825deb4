from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import AsyncClient as AsyncBrowser
from django.test import Client as Browser
from django.test import override_settings
from django.urls import path
from tidegate import Client, Context
from tidegate.integrations.django import TidegateMiddleware

from tests.sdk.integrations import django_settings
from tests.sdk.integrations.treatment_counts import SNAPSHOT, counted, counts

client = Client.offline(SNAPSHOT)


def visitor(request: HttpRequest) -> Context:
    return Context(request.headers.get("visitor", "nobody"))


def view(request: HttpRequest, what: str) -> HttpResponse:
    client.boolean("checkout", False)
    if what == "missing":
        raise Http404
    if what == "broken":
        raise RuntimeError("a bug")
    return HttpResponse(status=503 if what == "unavailable" else 200)


async def async_view(request: HttpRequest, what: str) -> HttpResponse:
    await asyncio.sleep(0)
    return view(request, what)


def parts(what: str) -> Iterator[bytes]:
    yield b"one"
    client.boolean("checkout", False)
    if what == "broken":
        raise RuntimeError("a bug")
    yield b"two"


async def async_parts(what: str) -> AsyncIterator[bytes]:
    for part in parts(what):
        await asyncio.sleep(0)
        yield part


def stream(request: HttpRequest, what: str) -> StreamingHttpResponse:
    client.boolean("checkout", False)
    return StreamingHttpResponse(parts(what), status=503 if what == "unavailable" else 200)


async def async_stream(request: HttpRequest, what: str) -> StreamingHttpResponse:
    client.boolean("checkout", False)
    return StreamingHttpResponse(async_parts(what), status=503 if what == "unavailable" else 200)


def download(request: HttpRequest) -> FileResponse:
    client.boolean("checkout", False)
    return FileResponse(io.BytesIO(b"a file"))


urlpatterns = [
    path("sync/<what>", view),
    path("async/<what>", async_view),
    path("stream/<what>", stream),
    path("async-stream/<what>", async_stream),
    path("file", download),
]

django_settings.configure()


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Client:
    """A client without counts, which the views and the settings use."""
    global client
    client = Client.offline(SNAPSHOT)
    monkeypatch.setattr(
        settings, "TIDEGATE", {"client": client, "context": f"{__name__}.visitor"}, raising=False
    )
    return client


OUTCOMES = [
    ("fine", 200, counts(1, 1, 0)),
    ("missing", 404, counts(1, 1, 0)),
    ("unavailable", 503, counts(1, 1, 1, 1)),
    ("broken", 500, counts(1, 1, 1, 1)),
]


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize(("what", "status", "expected"), OUTCOMES)
def test_outcomes_follow_the_status_under_wsgi(
    kind: str, what: str, status: int, expected: dict[str, int]
) -> None:
    browser = Browser(raise_request_exception=False)
    assert browser.get(f"/{kind}/{what}", headers={"visitor": "ana"}).status_code == status
    assert counted(client) == expected


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize(("what", "status", "expected"), OUTCOMES)
def test_outcomes_follow_the_status_under_asgi(
    kind: str, what: str, status: int, expected: dict[str, int]
) -> None:
    async def ask() -> int:
        browser = AsyncBrowser(raise_request_exception=False)
        answer = await browser.get(f"/{kind}/{what}", headers={"visitor": "ana"})
        return int(answer.status_code)

    assert asyncio.run(ask()) == status
    assert counted(client) == expected


STREAMS = [
    ("fine", counts(1, 1, 0)),
    ("unavailable", counts(1, 1, 1, 1)),
    ("broken", counts(1, 1, 1, 1)),
]


@pytest.mark.parametrize(("what", "expected"), STREAMS)
def test_a_stream_ends_the_operation_when_it_ends(what: str, expected: object) -> None:
    response = Browser().get(f"/stream/{what}", headers={"visitor": "ana"})
    assert counted(client) == counts(0, 0, 0)
    with contextlib.suppress(RuntimeError):
        assert b"".join(response.streaming_content) == b"onetwo"
    response.close()
    assert counted(client) == expected


@pytest.mark.parametrize(("what", "expected"), STREAMS)
def test_an_asynchronous_stream_ends_the_operation_when_it_ends(
    what: str, expected: object
) -> None:
    async def visit() -> bytes:
        response = await AsyncBrowser().get(f"/async-stream/{what}", headers={"visitor": "ana"})
        assert counted(client) == counts(0, 0, 0)
        try:
            return b"".join([part async for part in response.streaming_content])
        finally:
            response.close()

    with contextlib.suppress(RuntimeError):
        assert asyncio.run(visit()) == b"onetwo"
    assert counted(client) == expected


def test_a_stream_that_the_visitor_leaves_has_no_outcome() -> None:
    response = Browser().get("/stream/fine", headers={"visitor": "ana"})
    assert next(iter(response.streaming_content)) == b"one"
    response.close()
    assert counted(client) == counts(1, 0, 0)


def test_a_file_response_ends_when_the_view_returns() -> None:
    response = Browser().get("/file", headers={"visitor": "ana"})
    assert counted(client) == counts(1, 1, 0)
    assert b"".join(response.streaming_content) == b"a file"


def test_a_cancelled_request_has_no_outcome() -> None:
    async def slow(_: HttpRequest) -> HttpResponse:
        client.boolean("checkout", False, Context("ana"))
        await asyncio.sleep(60)
        return HttpResponse()

    async def cancelled() -> None:
        answer: Any = TidegateMiddleware(slow)(HttpRequest())
        task = asyncio.ensure_future(answer)
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert counted(client) == counts(1, 0, 0)


@pytest.mark.parametrize("name", ["contxt", "cookie"])
def test_a_setting_that_is_not_known_is_rejected(name: str) -> None:
    """A mistyped ``context`` would leave all users without a context."""
    with (
        override_settings(TIDEGATE={"client": Client.offline(SNAPSHOT), name: "x"}),
        pytest.raises(ImproperlyConfigured, match=f"{name}.*takes client, context, visitor_cookie"),
    ):
        TidegateMiddleware(lambda request: HttpResponse())


@pytest.mark.parametrize(
    ("option", "wrong"), [("client", Client), ("context", Context("ann"))], ids=str
)
def test_a_setting_of_a_wrong_kind_is_rejected(option: str, wrong: object) -> None:
    options = {"client": Client.offline(SNAPSHOT), option: wrong}
    with (
        override_settings(TIDEGATE=options),
        pytest.raises(TypeError, match=f"{option} is .*give a"),
    ):
        TidegateMiddleware(lambda request: HttpResponse())


@pytest.mark.parametrize("options", [None, {}, "client"])
def test_settings_without_a_client_are_rejected(options: object) -> None:
    with (
        override_settings(TIDEGATE=options),
        pytest.raises(ImproperlyConfigured, match="TIDEGATE ="),
    ):
        TidegateMiddleware(lambda request: HttpResponse())
