"""Visitors without a login keep a key in a cookie, and with it their variant."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client as DjangoBrowser
from django.test import override_settings
from django.urls import path
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from flask import Flask, request
from tidegate import Client, Context
from tidegate.integrations import asgi, wsgi
from tidegate.integrations.flask import Tidegate
from tidegate.integrations.visitor_cookie import (
    LONGEST_AGE,
    Visitor,
    VisitorCookie,
    visitor_key,
)
from werkzeug.test import Client as WerkzeugBrowser

from tests.sdk.documents import a_flag, a_release, a_snapshot
from tests.sdk.integrations import django_settings

django_settings.configure()

client = Client.offline(
    a_snapshot(a_flag("half", default={"variant": "off"}, release=a_release((50, []))))
)
seen: list[Context] = []
client.observe(lambda details, context: seen.append(context))


@pytest.fixture(autouse=True)
def forget() -> None:
    seen.clear()


def user(headers: Any) -> Context | None:
    """The context of who has logged in; None: nobody has."""
    name = headers.get("X-User")
    return None if name is None else Context(name, plan="pro")


Get = Callable[..., Any]
"""Sends a request with these headers, as one browser; returns the headers of the response."""


def wsgi_browser(cookie: VisitorCookie, https: bool) -> Get:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/page":
            client.boolean("half", False)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"done"]

    def context(environ: dict[str, Any]) -> Context | None:
        return user({"X-User": environ["HTTP_X_USER"]} if "HTTP_X_USER" in environ else {})

    return werkzeug_browser(wsgi.TidegateMiddleware(app, client, context, cookie), https)


def flask_browser(cookie: VisitorCookie, https: bool) -> Get:
    app = Flask(__name__)
    Tidegate(app, client, lambda: user(request.headers), cookie)
    app.add_url_rule("/plain", "plain", lambda: "done")
    app.add_url_rule("/page", "page", lambda: str(client.boolean("half", False)))
    return werkzeug_browser(app, https)


def werkzeug_browser(app: Any, https: bool) -> Get:
    browser = WerkzeugBrowser(app)
    base = f"{'https' if https else 'http'}://localhost"

    def get(page: str = "/page", **headers: str) -> Any:
        answer = browser.get(page, base_url=base, headers=headers, buffered=True)
        return answer.headers.getlist("Set-Cookie")

    return get


def asgi_browser(cookie: VisitorCookie, https: bool) -> Get:
    app = FastAPI()

    def context(scope: asgi.Scope) -> Context | None:
        headers = dict(scope["headers"])
        return user({"X-User": headers[b"x-user"].decode()} if b"x-user" in headers else {})

    app.add_middleware(
        asgi.TidegateMiddleware, client=client, context=context, visitor_cookie=cookie
    )

    @app.get("/page")
    async def page() -> bool:
        return client.boolean("half", False)

    @app.get("/plain")
    async def plain(request: Request) -> str:
        return "done"

    browser = TestClient(app, base_url=f"{'https' if https else 'http'}://localhost")

    def get(page: str = "/page", **headers: str) -> Any:
        return browser.get(page, headers=headers).headers.get_list("set-cookie")

    return get


def django_browser(cookie: VisitorCookie, https: bool) -> Get:
    browser = DjangoBrowser()
    options = {
        "client": client,
        "context": lambda request: user(request.headers),
        "visitor_cookie": cookie,
    }

    def get(page: str = "/page", **headers: str) -> Any:
        with override_settings(ROOT_URLCONF=__name__, TIDEGATE=options):
            browser.handler.load_middleware()
            answer = browser.get(page, headers=headers, secure=https)
            return [each.OutputString() for each in answer.cookies.values()]

    return get


def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(client.boolean("half", False)))


def plain(request: HttpRequest) -> HttpResponse:
    return HttpResponse("done")


urlpatterns = [path("page", page), path("plain", plain)]

BROWSERS = (wsgi_browser, flask_browser, asgi_browser, django_browser)
Browser = Callable[[VisitorCookie, bool], Get]


def attributes(cookie: str) -> set[str]:
    return {part.strip() for part in cookie.split(";")[1:]}


@pytest.mark.parametrize("browser", BROWSERS)
def test_a_visitor_keeps_one_key(browser: Browser) -> None:
    get = browser(VisitorCookie(), False)
    assert get("/plain") == []  # no flag was evaluated
    (cookie,) = get()
    match = re.match("tidegate_visitor=([0-9a-f]{32});", cookie)
    assert match is not None
    assert attributes(cookie) == {
        f"Max-Age={LONGEST_AGE}", "Path=/", "SameSite=Lax", "HttpOnly",
    }  # fmt: skip
    assert get() == []
    assert seen == [Context(match[1])] * 2


@pytest.mark.parametrize("browser", BROWSERS)
def test_two_visitors_have_two_keys(browser: Browser) -> None:
    for _ in range(2):
        browser(VisitorCookie(), False)()
    assert len({context.targeting_key for context in seen}) == 2


@pytest.mark.parametrize("browser", BROWSERS)
def test_the_cookie_is_secure_on_https(browser: Browser) -> None:
    (cookie,) = browser(VisitorCookie(), True)()
    assert "Secure" in attributes(cookie)


@pytest.mark.parametrize("browser", BROWSERS)
def test_the_attributes_of_the_cookie_can_be_set(browser: Browser) -> None:
    settings = VisitorCookie(
        "guest", max_age=60, path="/page", domain="localhost", same_site="Strict", secure=True
    )
    (cookie,) = browser(settings, False)()
    assert cookie.startswith("guest=")
    assert attributes(cookie) == {
        "Max-Age=60", "Path=/page", "Domain=localhost", "SameSite=Strict", "HttpOnly", "Secure",
    }  # fmt: skip


@pytest.mark.parametrize("browser", BROWSERS)
@pytest.mark.parametrize("sent", ["", "short", "x" * 32, "0" * 33, '"; Path=/'])
def test_a_cookie_that_is_none_of_ours_is_replaced(browser: Browser, sent: str) -> None:
    get = browser(VisitorCookie(), False)
    (cookie,) = get(Cookie=f"other=1; tidegate_visitor={sent}")
    assert re.match("tidegate_visitor=[0-9a-f]{32};", cookie)


@pytest.mark.parametrize("browser", BROWSERS)
def test_by_default_a_login_replaces_the_key(browser: Browser) -> None:
    get = browser(VisitorCookie(), False)
    get()
    assert get(**{"X-User": "ann"}) == []
    assert seen[1] == Context("ann", plan="pro")


@pytest.mark.parametrize("browser", BROWSERS)
def test_a_visitor_who_logs_in_keeps_key_and_variant_if_the_application_asks(
    browser: Browser,
) -> None:
    get = browser(VisitorCookie(keep_after_login=True), False)
    get()
    get(**{"X-User": "ann"})
    get()
    before, during, after = seen
    assert before == after
    assert during.targeting_key == before.targeting_key
    assert during.attributes == {"plan": "pro", "userId": "ann"}


@pytest.mark.parametrize("browser", BROWSERS)
def test_the_first_request_after_a_login_may_bring_the_cookie(browser: Browser) -> None:
    get = browser(VisitorCookie(keep_after_login=True, user_attribute="account"), False)
    assert len(get(**{"X-User": "ann"})) == 1
    assert get() == []
    assert seen[0].attributes["account"] == "ann"
    assert seen[0].targeting_key == seen[1].targeting_key


def test_a_context_without_a_key_is_left_alone() -> None:
    """So an application can leave out robots, which keep no cookies."""
    visitor = Visitor(VisitorCookie(keep_after_login=True), None, https=False)
    robot = Context(robot=True)
    assert visitor.context(robot) is robot
    assert visitor.context(7) == 7  # type: ignore[arg-type]
    assert visitor.new_cookie() is None
    assert visitor.context(None) == visitor.key


def test_an_application_can_read_the_key() -> None:
    keys: list[str] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        keys.append(visitor_key(environ))
        start_response("200 OK", [])
        return [b""]

    get = werkzeug_browser(wsgi.TidegateMiddleware(app, client, None, VisitorCookie()), False)
    (cookie,) = get()
    assert cookie.startswith(f"tidegate_visitor={keys[0]};")
    with pytest.raises(LookupError, match="give the integration a VisitorCookie"):
        visitor_key({})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "a b"}, "name has letters"),
        ({"max_age": 0}, "max_age is 1 to 34560000 seconds; it is 0"),
        ({"max_age": LONGEST_AGE + 1}, "max_age is 1 to"),
        ({"path": "page"}, "path begins with /"),
        ({"path": "/;Secure"}, "path begins with /"),
        ({"domain": "a;b"}, "domain is a host's name"),
        ({"same_site": "lax"}, "same_site is Lax, Strict or None"),
        ({"same_site": "None"}, "browsers need secure=True"),
    ],
)
def test_a_cookie_that_browsers_reject_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VisitorCookie(**settings)
