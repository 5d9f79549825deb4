"""`tidegate login` through a browser: a real terminal, a real Chromium, a real server."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.cli.calls import PROGRAM, Tidegate
from tests.cli.conftest import RunningServer
from tests.ofrep_clients.browser import browser
from tests.waiting import PATIENCE_SECONDS, until

PASSWORD = "four quiet harbour boats"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture
def email() -> str:
    """An email that no other test uses."""
    return f"{uuid4().hex[:10]}@example.com"


@pytest.fixture
def page(
    chromium: Browser, checkout: Tidegate, server: RunningServer, email: str
) -> Iterator[Page]:
    """A page of a developer who has accepted an invitation and signed out again."""
    project = checkout.variables["TIDEGATE_PROJECT"]
    arguments = ("person", "invite", email, "--role", "developer", "--project", project)
    link = checkout.ok(*arguments).strip()
    context = chromium.new_context(viewport={"width": 390, "height": 844})
    opened = context.new_page()
    opened.goto(link)
    opened.get_by_label("Your name").fill("Ada")
    opened.get_by_label("Password").fill(PASSWORD)
    opened.get_by_role("button", name="Begin", exact=True).click()
    expect(opened.get_by_role("heading", name="Flags")).to_be_visible()
    context.clear_cookies()
    yield opened
    context.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The contexts file of the person at the terminal."""
    return tmp_path / "own.json"


class Terminal:
    """`tidegate login`, which waits until it is signed in."""

    def __init__(
        self, server: RunningServer, file: Path, *arguments: str, **variables: str
    ) -> None:
        self._errors = file.with_name("errors.txt")
        self._output = file.with_name("output.txt")
        with self._errors.open("w") as errors, self._output.open("w") as output:
            self.process = subprocess.Popen(
                [PROGRAM, "login", "--url", server.url, *arguments],
                env={**os.environ, "TIDEGATE_CONFIG": str(file), **variables},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )

    @property
    def errors(self) -> str:
        """What it has said so far."""
        return self._errors.read_text()

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self._output.read_text()

    @property
    def link(self) -> str:
        """The address of the page with the code."""
        until(lambda: "Waiting" in self.errors, "the code")
        found = re.search(r"http://\S+/device\?code=\S+", self.errors)
        assert found is not None, self.errors
        return found[0]

    def ended(self) -> int:
        """Return its exit status."""
        return self.process.wait(PATIENCE_SECONDS)


def sign_in(page: Page, email: str) -> None:
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()


def test_a_person_approves_the_code_in_a_browser(
    page: Page, server: RunningServer, checkout: Tidegate, file: Path, email: str
) -> None:
    project = checkout.variables["TIDEGATE_PROJECT"]
    terminal = Terminal(server, file, "--no-browser", "--project", project, "--expires-in", "2h")
    page.goto(terminal.link)
    expect(page.get_by_role("heading", name="Sign in to Tidegate")).to_be_attached()
    sign_in(page, email)
    expect(page.get_by_role("heading", name="Does your terminal show this code?")).to_be_visible()
    code = terminal.link.rpartition("=")[2]
    expect(page.get_by_text(code, exact=True)).to_be_visible()
    expect(page.get_by_text("everything that you may do")).to_be_visible()
    expect(page.get_by_text("2h, or until you delete its token")).to_be_visible()
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("heading", name="Approved")).to_be_visible()
    assert terminal.ended() == 0, terminal.errors
    assert f"Logged in to {server.url} as {email}." in terminal.output
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    token = json.loads(file.read_text())["contexts"]["default"]["token"]
    user = Tidegate({"TIDEGATE_CONFIG": str(file)})
    assert f"Ada ({email})" in user.ok("whoami")
    user.ok("flag", "create", "banner")
    assert "kill" in user.refused("kill", "checkout"), "ada is a developer"
    log = (server.data_dir.parent / "server.log").read_text()
    for text in (terminal.errors, terminal.output, log):
        assert token.rpartition("_")[2] not in text


def test_the_code_is_typed_and_refused(
    page: Page, server: RunningServer, file: Path, email: str
) -> None:
    terminal = Terminal(server, file, "--no-browser", "--permission", "read")
    code = terminal.link.rpartition("=")[2]
    page.goto(f"{server.url}/device")
    sign_in(page, email)
    page.get_by_label("Code").fill("BCDF-GHJK")
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_text("No program waits with this code.")).to_be_visible()
    page.get_by_label("Code").fill(code.lower())
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_text("read, where you may")).to_be_visible()
    page.get_by_role("button", name="Refuse").click()
    expect(page.get_by_role("heading", name="Refused")).to_be_visible()
    assert terminal.ended() == 3
    assert "The request was refused in the browser." in terminal.errors
    assert not file.exists()


@pytest.mark.usefixtures("interruptible")
def test_the_page_opens_by_itself_where_there_is_a_screen(
    server: RunningServer, file: Path, tmp_path: Path
) -> None:
    opened = tmp_path / "opened.txt"
    program = tmp_path / "a-browser"
    program.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    program.chmod(0o755)
    terminal = Terminal(
        server, file, "--browser", BROWSER=str(program), DISPLAY=":0", SSH_CONNECTION=""
    )
    try:
        link = terminal.link
        assert "In the page that has opened" in terminal.errors
        until(lambda: opened.exists() and bool(opened.read_text()), "the browser")
        assert opened.read_text().strip() == link
    finally:
        terminal.process.send_signal(signal.SIGINT)
    assert terminal.ended() == 130
    assert not file.exists()


def test_no_page_opens_in_a_terminal_of_another_machine(
    server: RunningServer, file: Path, tmp_path: Path
) -> None:
    opened = tmp_path / "opened.txt"
    terminal = Terminal(
        *(server, file, "--browser"),
        BROWSER=f"touch {opened} #",
        DISPLAY=":10",
        SSH_CONNECTION="192.0.2.1 50000 192.0.2.2 22",
    )
    try:
        assert terminal.link
        assert "Open this page in any browser" in terminal.errors
        assert not opened.exists()
    finally:
        terminal.process.kill()
        terminal.ended()


def test_two_ways_at_once_are_refused(server: RunningServer, file: Path) -> None:
    user = Tidegate({"TIDEGATE_CONFIG": str(file)})
    login = ("login", "--url", server.url)
    refused = user.refused(*login, "--no-browser", "--with-token", status=2)
    assert "Give one of --browser or --no-browser, --with-token." in refused
    refused = user.refused(*login, "--email", "a@example.com", "--with-token", status=2)
    assert "Give one of --email, --with-token." in refused


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_terminal_signs_in_through_a_browser_unless_it_is_told_otherwise(
    page: Page, server: RunningServer, file: Path, email: str
) -> None:
    import pty

    pid, terminal = pty.fork()
    if pid == 0:
        variables = {**os.environ, "TIDEGATE_CONFIG": str(file), "SSH_CONNECTION": "a terminal"}
        os.execve(PROGRAM, [PROGRAM, "login", "--url", server.url], variables)
    shown = ""
    while "Waiting" not in shown:
        shown += os.read(terminal, 1_000).decode()
    found = re.search(r"http://\S+/device\?code=\S+", shown)
    assert found is not None, shown
    page.goto(found[0])
    sign_in(page, email)
    page.get_by_role("button", name="Approve").click()
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0
    assert email in Tidegate({"TIDEGATE_CONFIG": str(file)}).ok("whoami")
