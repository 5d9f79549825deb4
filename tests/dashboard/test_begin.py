"""The first visit: from an empty project to a release, with an application that really connects."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import urllib3
from flask import Flask
from playwright.sync_api import Browser, Locator, Page, expect

from examples.shop.processes import free_port
from tests.admin.guarded import protect
from tests.admin.test_instances import report
from tests.dashboard.visits import DESK, PHONE, visit
from tests.http_calls import PRODUCTION, PROJECT, Caller
from tests.node import install, node
from tests.ofrep_clients.node import FOLDER
from tests.people import join
from tests.waiting import until

ADA = "ada@example.com"
BEGIN = "/p/default/e/production/begin"


@pytest.fixture
def hello(admin: Caller, app: Flask) -> Caller:
    """Return the admin of a project with the flag hello, in which Ada is an admin, too."""
    join(app, admin, ADA, {"role": "admin"})
    admin.post_ok(f"{PROJECT}/flags", {"key": "hello", "type": "boolean"})
    # On, so that an answer tells whether the flags have arrived.
    targeting = {"enabled": True, "off_variant": "off", "default": {"variant": "on"}}
    etag = admin.get(f"{PRODUCTION}/flags/hello").headers["ETag"]
    assert admin.put(f"{PRODUCTION}/flags/hello", targeting, match=etag).status_code == 200
    return admin


def make_token(page: Page, application: str) -> None:
    page.get_by_label("Application").fill(application)
    page.get_by_role("button", name="Make a token for this code").click()
    expect(page.get_by_text("It is shown only once")).to_be_visible()


def pasted(page: Page) -> dict[str, str]:
    """Return the code of the page, by the file that it belongs to; shells are numbered."""
    codes: dict[str, str] = {}
    for code in page.locator("pre[data-where]").all():
        where = code.get_attribute("data-where") or ""
        codes[f"shell {len(codes)}" if where == "shell" else where] = code.inner_text()
    return codes


def variables(codes: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that the code to paste into a shell sets."""
    found = dict(re.findall(r"export (\w+)=(\S+)", "\n".join(codes.values())))
    assert set(found) == {"TIDEGATE_URL", "TIDEGATE_TOKEN", "TIDEGATE_APPLICATION"}
    return {**os.environ, **found, "NO_COLOR": "1"}


@contextmanager
def running(command: list[str], folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Run a pasted program until the end of the block."""
    log = (folder / "log").open("wb")
    process = subprocess.Popen(
        command, cwd=folder, env=dict(environment), stdout=log, stderr=subprocess.STDOUT
    )
    try:
        yield
    except BaseException:
        print((folder / "log").read_text())
        raise
    finally:
        process.terminate()
        process.wait(60)
        log.close()


def ask_once(port: int) -> None:
    """Ask the application until it has its flags."""

    def answers() -> bool:
        try:
            url = f"http://127.0.0.1:{port}/"
            answer = urllib3.request("GET", url, retries=False, timeout=5.0)
            return answer.status == 200 and "True" in answer.data.decode()
        except urllib3.exceptions.HTTPError:
            return False

    until(answers, "the application has its flags")


def connected(page: Page) -> Locator:
    return page.locator("#waiting").get_by_text(re.compile(r"^Connected: .* ago\.$"))


@contextmanager
def run_python(codes: Mapping[str, str], folder: Path) -> Iterator[None]:
    """Run the pasted program, which asks once and ends."""
    (folder / "hello.py").write_text(codes["hello.py"])
    ended = subprocess.run(
        [sys.executable, "hello.py"],
        cwd=folder,
        env=variables(codes),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout) == (0, "True\n"), ended.stderr
    yield


@contextmanager
def run_flask(codes: Mapping[str, str], folder: Path) -> Iterator[None]:
    (folder / "app.py").write_text(codes["app.py"])
    port = free_port()
    arguments = ["-m", "flask", "--app", "app", "run", "--port", str(port)]
    assert "flask --app app run --port 5000" in codes.values()
    with running([sys.executable, *arguments], folder, variables(codes)):
        ask_once(port)
        yield


@contextmanager
def run_fastapi(codes: Mapping[str, str], folder: Path) -> Iterator[None]:
    (folder / "main.py").write_text(codes["main.py"])
    port = free_port()
    assert "uvicorn main:app --port 8000" in codes.values()
    arguments = ["-m", "uvicorn", "main:app", "--port", str(port)]
    with running([sys.executable, *arguments], folder, variables(codes)):
        ask_once(port)
        yield


@contextmanager
def run_django(codes: Mapping[str, str], folder: Path) -> Iterator[None]:
    environment = variables(codes)
    subprocess.run(
        [sys.executable, "-m", "django", "startproject", "mysite", "."], cwd=folder, check=True
    )
    for where, code in codes.items():
        if where.startswith("mysite/"):
            name, _, at_end = where.partition(", ")
            with (folder / name).open("a" if at_end else "w") as file:
                file.write("\n" + code)
    port = free_port()
    command = [sys.executable, "manage.py", "runserver", "--noreload", str(port)]
    with running(command, folder, environment):
        ask_once(port)
        yield


PYTHON: dict[str, Callable[[Mapping[str, str], Path], AbstractContextManager[None]]] = {
    "Python": run_python,
    "Flask": run_flask,
    "Django": run_django,
    "FastAPI": run_fastapi,
    "OpenFeature": run_python,
}


@pytest.mark.parametrize("language", PYTHON)
def test_the_pasted_code_connects(
    chromium: Browser, port: int, hello: Caller, tmp_path: Path, language: str
) -> None:
    with visit(chromium, port, DESK) as at:
        page = at.page
        at.sign_in(ADA)
        at.go(BEGIN)
        page.get_by_role("link", name=language, exact=True).click()
        make_token(page, "my-shop")
        expect(page.get_by_text("Waiting for the first evaluation of hello.")).to_be_visible()
        with PYTHON[language](pasted(page), tmp_path):
            # By itself, without loading the page again: the token is still there.
            expect(connected(page)).to_be_visible()
        expect(connected(page)).to_contain_text("my-shop on ")
        expect(page.get_by_text("It is shown only once")).to_be_visible()
    audit, tokens = hello.get("/api/v1/audit?limit=5").json, hello.get("/api/v1/tokens").json
    assert audit is not None
    assert "token.create" in [each["action"] for each in audit["items"]]
    assert tokens is not None
    [token] = [each for each in tokens["items"] if each["name"] == "my-shop"]
    assert (token["role"], token["environment"], token["owner"]) == ("sdk", "production", ADA)
    assert token["expires_at"] is not None


def test_the_code_is_copied_with_a_button(chromium: Browser, port: int, hello: Caller) -> None:
    permissions = ["clipboard-read", "clipboard-write"]
    with visit(chromium, port, DESK, permissions=permissions) as at:
        page = at.page
        at.sign_in(ADA)
        at.go(BEGIN)
        page.get_by_role("button", name="Copy", exact=True).locator("visible=true").nth(1).click()
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        assert page.evaluate("navigator.clipboard.readText()") == pasted(page)["hello.py"]


def test_a_page_with_the_web_provider_connects(
    chromium: Browser, port: int, hello: Caller, tmp_path: Path
) -> None:
    program = node()
    with visit(chromium, port, PHONE) as at:
        page = at.page
        at.sign_in(ADA)
        at.go(f"{BEGIN}?with=javascript&step=connect")
        page.get_by_label("Origin of the pages").fill("shop.example/basket")
        page.get_by_role("button", name="Allow it").click()
        expect(page.get_by_text("An origin is a scheme, a host")).to_be_visible()
        page.get_by_label("Origin of the pages").fill("https://shop.example")
        page.get_by_role("button", name="Allow it").click()
        expect(page.get_by_text("Pages of https://shop.example may ask for hello.")).to_be_visible()
        make_token(page, "my-page")
        codes = pasted(page)
        assert codes["shell 0"].startswith("npm install @openfeature/web-sdk ")
        (tmp_path / "node_modules").symlink_to(install(FOLDER))
        # Node.js has no EventSource, which browsers have.
        source = (
            'import { EventSource } from "eventsource";\nglobalThis.EventSource = EventSource;\n'
        )
        (tmp_path / "page.mjs").write_text(f"{source}{codes['page.js']}process.exit(0);\n")
        ended = subprocess.run(
            [program, "page.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert (ended.returncode, ended.stdout) == (0, "true\n"), ended.stderr
        expect(connected(page)).to_be_visible()
        at.check()


@pytest.mark.parametrize("guarded", ["production", "staging"])
def test_pages_that_may_ask_in_a_protected_environment_are_one_change(
    chromium: Browser, port: int, app: Flask, hello: Caller, guarded: str
) -> None:
    """The flag is guarded by every environment, the origin by its own one."""
    if guarded == "staging":
        hello.post_ok(f"{PROJECT}/environments", {"key": "staging"})
    join(app, hello, "max@example.com", {"role": "release_manager"})
    protect(hello, environment=guarded)
    with visit(chromium, port, PHONE) as at:
        page = at.page
        at.sign_in(ADA)
        at.go(f"{BEGIN}?with=javascript&step=connect")
        expect(page.get_by_role("button", name="Allow it")).to_be_hidden()
        says = "It allows the origin in production and lets pages ask for hello: one change of both"
        expect(page.get_by_text(says)).to_contain_text(f"{guarded} is protected: another person")
        page.get_by_label("Why").fill("the shop is a page")
        page.get_by_label("Origin of the pages").fill("shop.example/basket")
        page.get_by_role("button", name="Propose it").click()
        expect(page.get_by_text("An origin is a scheme, a host")).to_be_visible()
        page.get_by_label("Origin of the pages").fill("https://shop.example")
        page.get_by_role("button", name="Propose it").click()
        expect(page.get_by_text("Waits for another person.")).to_be_visible()
        listed = hello.get(f"{PROJECT}/change-requests").json
        assert listed is not None
        [proposal] = listed["items"]
        actions = [(each["action"], each["target"]) for each in proposal["actions"]]
        assert actions == [("flag.edit", "hello"), ("environment.edit", "production")]
        at.go(f"{BEGIN}?with=javascript&step=connect")
        expect(page.get_by_text("Waits until another person approves it")).to_contain_text(
            "the shop is a page"
        )
        at.check()
    with visit(chromium, port, DESK) as other:
        other.sign_in("max@example.com")
        other.go(f"{BEGIN}?with=javascript&step=connect")
        other.page.get_by_role("link", name="the shop is a page").click()
        other.page.get_by_role("button", name="Approve").click()
        expect(other.page.get_by_text("Approved; it can be applied.")).to_be_visible()
        other.go(BEGIN)
        expect(other.page.get_by_text("waits until somebody applies it")).to_be_visible()
    path = f"{PROJECT}/change-requests/{proposal['id']}"
    assert hello.post(f"{path}/apply", {}).status_code == 200
    flag, place = hello.get(f"{PROJECT}/flags/hello").json, hello.get(PRODUCTION).json
    assert flag is not None
    assert place is not None
    assert flag["client_side"] is True
    assert place["allowed_origins"] == ["https://shop.example"]


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_from_an_empty_project_to_a_release(
    chromium: Browser, port: int, app: Flask, admin: Caller, size: dict[str, int]
) -> None:
    join(app, admin, ADA, {"role": "admin"})
    with visit(chromium, port, size) as at:
        page = at.page
        at.sign_in(ADA)
        at.go("/")
        expect(page.get_by_role("heading", name="Open a feature to a few people")).to_be_visible()
        page.locator("#key").fill("not a key")
        page.get_by_label("Description").fill("The first one")
        page.get_by_role("button", name="Make the flag").click()
        expect(page.locator("#key-error")).to_be_visible()
        assert page.get_by_label("Description").input_value() == "The first one"
        page.locator("#key").fill("hello")
        page.get_by_role("button", name="Make the flag").click()
        expect(page.get_by_text("hello is made. It serves off to everyone")).to_be_visible()

        page.get_by_role("link", name="Name who goes first").click()
        page.get_by_label("Who is in it").fill("ann\nbob")
        page.get_by_role("button", name="Make the segment").click()
        expect(page.get_by_role("heading", name="Choose how carefully")).to_be_visible()
        page.get_by_label("First of all").select_option("staff")
        page.get_by_role("button", name="Make the policy").click()
        page.get_by_label("Why").fill("my first release")
        page.get_by_role("button", name="Start the release").click()
        expect(page.get_by_text("Open to 50 % of staff")).to_be_visible()
        at.check()


def test_who_waits_is_told_what_the_server_saw(
    chromium: Browser, port: int, app: Flask, hello: Caller
) -> None:
    unknown = f"tg_sdk_0123456789ab_{'0' * 48}"
    with visit(chromium, port, PHONE) as at:
        page = at.page
        at.sign_in(ADA)
        page.clock.install()
        at.go(f"{BEGIN}?step=connect")
        hints = page.locator("#hints")
        expect(hints.get_by_text("The server saw nothing")).to_be_hidden()
        page.clock.run_for(61_000)
        expect(hints.get_by_text("The server saw nothing")).to_be_visible()
        expect(hints.get_by_text("python -m tidegate check")).to_be_visible()

        refused = Caller(app.test_client(), unknown).get("/sdk/v1/snapshot")
        assert refused.status_code == 401
        for environment, key in (("development", "hello"), ("production", "helo")):
            asked = {"flag": key, "variants": {}, "defaults": 1, "estimated": False}
            sdk = hello.token_for("sdk", "default", environment)
            report(sdk, application=f"shop-{environment}", evaluations=[asked])
        page.clock.run_for(11_000)
        for says in (
            "A request from 127.0.0.1 was refused now: This token is unknown",
            "shop-production on web-1 is connected to production, and has not asked for hello yet.",
            "shop-development on web-1 is connected to development, not to production",
            "shop-production asked for helo, which does not exist.",
        ):
            expect(hints.get_by_text(says)).to_be_visible()
        at.check()


def test_without_a_script_each_step_is_a_link_and_a_form(
    chromium: Browser, port: int, hello: Caller
) -> None:
    with visit(chromium, port, PHONE, java_script_enabled=False) as at:
        page = at.page
        at.sign_in(ADA)
        at.go(BEGIN)
        page.get_by_role("link", name="FastAPI").click()
        make_token(page, "my-app")
        assert "TIDEGATE_TOKEN=tg_sdk_" in pasted(page)["shell 0"]
        asked = {"flag": "hello", "variants": {"on": 1}, "defaults": 0, "estimated": False}
        sdk = hello.token_for("sdk", "default", "production")
        report(sdk, application="shop", evaluations=[asked])
        page.get_by_role("link", name="Look again").click()
        expect(connected(page)).to_contain_text("shop on web-1 asked for hello")
        # The token is shown once only.
        assert "tg_sdk_..." in pasted(page)["shell 0"]


def test_who_may_not_make_tokens_is_told_whom_to_ask(
    chromium: Browser, port: int, app: Flask, hello: Caller
) -> None:
    join(app, hello, "dora@example.com", {"role": "developer", "project": "default"})
    with visit(chromium, port, DESK) as at:
        at.sign_in("dora@example.com")
        at.go(BEGIN)
        expect(at.page.get_by_text("You may not make tokens here.")).to_be_visible()
        expect(at.page.get_by_role("button", name="Make a token")).to_be_hidden()
