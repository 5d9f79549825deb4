"""The code on the SDK's page works as written, with a real server."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import tidegate
from openfeature import api
from tidegate import Client
from werkzeug.test import Client as Browser

from tests.sdk.server import Environment

pytest_plugins = ["pytester"]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sdk.md"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\S+\.py)\n")

Names = dict[str, Any]


def sections() -> dict[str, list[str]]:
    """Return the page's code blocks by heading."""
    parts = re.split(r"^##+ (.+)\n", PAGE.read_text(), flags=re.MULTILINE)
    titled = zip(parts[1::2], parts[2::2], strict=True)
    return {title: blocks for title, text in titled if (blocks := BLOCK.findall(text))}


SECTIONS = sections()
GUIDE = [
    "The client",
    "Evaluating flags",
    "Operations",
    "Status and events",
    "Testing an application",
]


def browse_wsgi(names: Names) -> None:
    browser = Browser(names.get("app") or names["application"])
    browser.set_cookie("visitor", "user-1")
    answer = browser.get("/checkout", environ_overrides={"REMOTE_USER": "user-1"}, buffered=True)
    assert answer.status_code == 200


def browse_asgi(names: Names) -> None:
    async def browse() -> None:
        transport = httpx.ASGITransport(names["app"])
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as browser:
            answer = await browser.get("/checkout", headers={"X-Visitor": "user-1"})
            assert answer.status_code == 200

    asyncio.run(browse())


def do_nothing(names: Names) -> None:
    """Do nothing: the code block itself does the work."""


def forget_provider(names: Names) -> None:
    api.clear_providers()


RECIPES: dict[str, tuple[Callable[[Names], None], int]] = {
    "Flask": (browse_wsgi, 1),
    "Any WSGI application": (browse_wsgi, 1),
    "FastAPI, Starlette and any ASGI application": (browse_asgi, 1),
    "Visitors without a login": (browse_wsgi, 1),
    "Anything else": (do_nothing, 2),
    "OpenFeature": (forget_provider, 2),  # one for each user
}
"""How each recipe is used, and how many operations that makes."""

PROGRAMS = {
    "Django": """
import django
from django.conf import settings
from django.http import HttpResponse
from django.test import Client as Browser
from django.urls import path
from shop import flags
from shop import settings as shop

def checkout(request):
    return HttpResponse("new" if flags.client.boolean("new-checkout", False) else "old")

urlpatterns = [path("checkout", checkout)]
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], LOGGING_CONFIG=None, **{
    name: getattr(shop, name) for name in ("MIDDLEWARE", "TIDEGATE")
})
django.setup()
assert flags.client.wait_until_ready(60)
browser = Browser()
browser.cookies["visitor"] = "user-1"
assert browser.get("/checkout").status_code == 200
""",
    "Celery": """
from shop.tasks import charge, client

assert client.wait_until_ready(60)
assert charge.apply(kwargs={"user": "user-1"}).get() in ("new", "old")
""",
}
"""Recipes with several files, and a program that uses each."""


@pytest.fixture
def release(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> str:
    """Start a release of the page's flag, and set the SDK's environment variables."""
    environment.flag("new-checkout")
    monkeypatch.setenv("TIDEGATE_URL", environment.url)
    monkeypatch.setenv("TIDEGATE_TOKEN", environment.token)
    return environment.release("new-checkout")


@pytest.fixture
def names() -> Iterator[Names]:
    """The names that a code block defines; its clients are closed at the end."""
    names: Names = {"__name__": "page"}
    yield names
    for value in names.values():
        if isinstance(value, Client):
            value.close()


def run(code: str, names: Names) -> None:
    exec(compile(code, str(PAGE), "exec", dont_inherit=True), names)


def test_every_code_block_is_tested() -> None:
    assert sorted(SECTIONS) == sorted([*GUIDE, *RECIPES, *PROGRAMS])


def test_the_guide_can_be_followed_from_top_to_bottom(
    release: str, names: Names, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for title in GUIDE:
        for code in SECTIONS[title]:
            before = names.get("client")
            run(code, names)
            if before is not None and names["client"] is not before:
                before.close()
            if "tidegate.Client(" in code:
                assert names["client"].wait_until_ready()
    names["test_checkout"]()
    assert names["details"].metadata["releaseId"] == release
    assert names["status"].state == "connected"
    assert names["offline"].status().state == "offline"
    names["client"].close()
    assert (tmp_path / "flags.cache").exists()


def test_the_tests_on_the_page_pass(pytester: pytest.Pytester) -> None:
    tests = [code for code in SECTIONS["Testing an application"] if "import pytest" in code]
    pytester.makepyfile("import tidegate.testing\nclient = tidegate.testing.client()\n" + tests[0])
    pytester.runpytest("-p", "no:cacheprovider").assert_outcomes(passed=2)


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_counts_its_operations(
    title: str, environment: Environment, release: str, names: Names,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (code,) = SECTIONS[title]
    if "wait_until_ready" not in code:  # as a server has, before its first request
        monkeypatch.setattr(tidegate, "Client", lambda: ready(Client()))
    run(code, names)
    use, count = RECIPES[title]
    use(names)
    names["client"].close()
    assert environment.outcomes(release) == count


def ready(client: Client) -> Client:
    assert client.wait_until_ready()
    return client


@pytest.mark.parametrize("title", PROGRAMS)
def test_a_recipe_of_several_files_counts_its_operation(
    title: str, environment: Environment, release: str, tmp_path: Path
) -> None:
    for code in SECTIONS[title]:
        named = FILE.match(code)
        assert named is not None
        path = tmp_path / named[1]
        path.parent.mkdir(exist_ok=True)
        path.write_text(code)
    (tmp_path / "program.py").write_text(PROGRAMS[title])
    subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, check=True, timeout=60, env=dict(os.environ)
    )
    assert environment.outcomes(release) == 1
    if (tmp_path / "shop" / "asgi.py").exists():
        subprocess.run(
            [sys.executable, "-c", "import shop.asgi"], cwd=tmp_path, check=True, timeout=60
        )
