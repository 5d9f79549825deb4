from __future__ import annotations

import asyncio
from typing import Any

import django
import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import Http404, HttpRequest, HttpResponse
from django.test import AsyncClient as AsyncBrowser
from django.test import Client as Browser
from django.test import override_settings
from django.urls import path
from tidegate import Client, Context
from tidegate.integrations.django import TidegateMiddleware

from tests.sdk.integrations.counted import SNAPSHOT, counted, counts

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


urlpatterns = [path("sync/<what>", view), path("async/<what>", async_view)]

if not settings.configured:
    settings.configure(
        SECRET_KEY="tests",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        MIDDLEWARE=["tidegate.integrations.django.TidegateMiddleware"],
        DATABASES={},
        LOGGING_CONFIG=None,
    )
    django.setup()


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Client:
    """A client with no counts, where the views and the settings look for it."""
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


def test_a_cancelled_request_is_neither_ok_nor_an_error() -> None:
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


@pytest.mark.parametrize("said", [None, {}, "client"])
def test_settings_without_a_client_stop_the_start(said: object) -> None:
    with override_settings(TIDEGATE=said), pytest.raises(ImproperlyConfigured, match="TIDEGATE ="):
        TidegateMiddleware(lambda request: HttpResponse())
