"""``python -m tidegate check`` says what works between an application and its server."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from tidegate import connection_check
from tidegate.__main__ import main
from tidegate.connection_check import STEPS

from tests.sdk import bad_proxy
from tests.sdk.bad_proxy import Mode, Proxy
from tests.sdk.server import Environment


class Check:
    """Runs the command with settings from the environment, and keeps what it prints."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        self.lines: dict[str, str] = {}

    def __call__(self, url: str, token: str, *options: str) -> int:
        self._monkeypatch.setenv("TIDEGATE_URL", url)
        self._monkeypatch.setenv("TIDEGATE_TOKEN", token)
        code = main(["check", *options])
        printed = self._capsys.readouterr().out
        assert token.strip() not in printed or not token.strip()
        # The flag server of the tests logs to the same place.
        lines = [(line[:12].strip(), line[13:]) for line in printed.splitlines()]
        self.lines = {name: text for name, text in lines if name in STEPS}
        assert tuple(self.lines) == STEPS
        return code

    @property
    def failed(self) -> list[str]:
        return [name for name, text in self.lines.items() if text.startswith("FAILED")]

    @property
    def untested(self) -> list[str]:
        return [name for name, text in self.lines.items() if text.startswith("-")]


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    return Check(monkeypatch, capsys)


def test_everything_works(check: Check, environment: Environment) -> None:
    environment.flag("checkout")
    environment.segment("staff")
    assert check(f" {environment.url}/\n", f"{environment.token}\r\n") == 0
    assert (check.failed, check.untested) == ([], ["certificate"])
    assert f"{environment.project}/production at version" in check.lines["snapshot"]
    assert "flags: 1, segments: 1" in check.lines["snapshot"]
    assert "begins with http://" in check.lines["certificate"]
    assert check.lines["clock"].startswith("ok")


def test_nothing_of_it_is_counted(check: Check, environment: Environment) -> None:
    assert check(environment.url, environment.token) == 0
    instances = environment.admin.get(f"{environment.at}/instances").json
    assert instances is not None
    assert instances["items"] == []


@pytest.mark.parametrize(
    ("url", "token", "step", "text"),
    [
        ("", "s3cr3t", "address", "set TIDEGATE_URL or give --url"),
        ("flags.example", "s3cr3t", "address", "is not the address of a server"),
        ("http://ann:secret@flags.example", "s3cr3t", "address", "contains a user name"),
        ("http://127.0.0.1:9", " \n", "token text", "set TIDEGATE_TOKEN or give --token-file"),
        ("http://127.0.0.1:9", "to\nken", "token text", "contains a line break at position 3"),
    ],
)
def test_settings_that_cannot_be_used(
    check: Check, url: str, token: str, step: str, text: str
) -> None:
    assert check(url, token) == 2
    assert check.failed == [step]
    assert text in check.lines[step]
    assert "secret" not in str(check.lines)
    assert check.untested == list(STEPS[STEPS.index(step) + 1 :])


def test_a_name_that_is_not_found(check: Check) -> None:
    assert check("https://flags.invalid", "s3cr3t") == 1
    assert check.failed == ["name"]
    assert "flags.invalid is not found" in check.lines["name"]


def test_a_server_that_is_down(check: Check) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert check(f"http://127.0.0.1:{port}", "s3cr3t") == 1
    assert check.failed == ["connection"]
    assert f"nothing listens at 127.0.0.1:{port}" in check.lines["connection"]


def test_a_certificate_that_is_refused(
    check: Check, proxy: Proxy, certificate: tuple[str, str]
) -> None:
    proxy.switch_to(bad_proxy.untrusted_tls(*certificate))
    assert check(proxy.url.replace("http:", "https:"), "s3cr3t") == 1
    assert check.failed == ["certificate"]
    assert "is refused: self-signed certificate" in check.lines["certificate"]


def test_a_server_without_tls(check: Check, environment: Environment) -> None:
    assert check(environment.url.replace("http:", "https:"), environment.token) == 1
    assert check.failed == ["certificate"]
    assert "begin with http://" in check.lines["certificate"]


def test_a_token_that_is_refused(check: Check, environment: Environment) -> None:
    assert check(environment.url, "another-token") == 1
    assert check.failed == ["token"]
    assert "refused (401)" in check.lines["token"]
    assert check.untested[1:] == ["snapshot", "stream", "report", "clock"]


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        (bad_proxy.respond("404 Not Found", b"<html>", "text/html"), "no Tidegate server"),
        (bad_proxy.respond("200 OK", b"<html>", "text/html"), "no Tidegate server"),
        (bad_proxy.respond("200 OK", {"schema": 99}), "update the SDK"),
        (bad_proxy.respond("429 Too Many Requests", {}), "rate limit"),
    ],
)
def test_a_server_without_a_snapshot(check: Check, proxy: Proxy, mode: Mode, text: str) -> None:
    proxy.switch_to(mode)
    assert check(proxy.url, "a-token") == 1
    assert check.failed == ["snapshot"]
    assert text in check.lines["snapshot"]


def test_a_flag_that_cannot_be_read_is_a_warning(
    check: Check, proxy: Proxy, environment: Environment
) -> None:
    environment.flag("checkout")
    broken = environment.snapshot()
    broken["flags"]["checkout"]["type"] = "colour"
    event = b"retry: 1000\n\n"

    def mode(proxy: Proxy, client: socket.socket) -> None:
        bad_proxy.stream_and_cut(event, snapshot=broken)(proxy, client)

    proxy.switch_to(mode)
    check(proxy.url, environment.token)
    assert check.lines["snapshot"].startswith("warning")
    assert "1 cannot be read, first flags/checkout" in check.lines["snapshot"]
    assert check.lines["stream"].startswith("ok")


def test_a_proxy_that_buffers_streams(
    check: Check, proxy: Proxy, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_check, "STREAM_SECONDS", 0.3)

    def buffering(proxy: Proxy, client: socket.socket) -> None:
        stream = b"/sdk/v1/stream" in client.recv(1_000, socket.MSG_PEEK)
        (bad_proxy.black_hole if stream else bad_proxy.pass_through)(proxy, client)

    proxy.switch_to(buffering)
    assert check(proxy.url, environment.token) == 1
    assert check.failed == ["stream"]
    assert "may buffer the response; clients poll" in check.lines["stream"]


def test_clocks_that_differ_are_a_warning(
    check: Check, proxy: Proxy, environment: Environment
) -> None:
    date = format_datetime(datetime.now(UTC) - timedelta(seconds=90), usegmt=True)
    body = json.dumps(environment.snapshot()).encode()

    def slow_clock(proxy: Proxy, client: socket.socket) -> None:
        if b"/sdk/v1/snapshot" not in client.recv(1_000, socket.MSG_PEEK):
            return bad_proxy.pass_through(proxy, client)
        bad_proxy.read_head(client)
        answer = bad_proxy.http_response("200 OK", body)
        return client.sendall(answer.replace(b"\r\n", f"\r\nDate: {date}\r\n".encode(), 1))

    proxy.switch_to(slow_clock)
    assert check(proxy.url, environment.token) == 0
    assert check.lines["clock"].startswith("warning")
    assert "ahead of the server's" in check.lines["clock"]


def test_the_token_may_come_from_a_file_and_the_address_from_an_option(
    check: Check, environment: Environment, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(f"{environment.token}\n")
    options = ("--url", environment.url, "--token-file", str(file))
    assert check("http://flags.invalid", "another", *options) == 0
    assert environment.token not in str(check.lines)


def test_a_token_file_that_cannot_be_read_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["check", "--token-file", str(tmp_path / "none")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_it_runs_as_a_module(environment: Environment) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tidegate", "check"],
        env={"TIDEGATE_URL": environment.url, "TIDEGATE_TOKEN": environment.token},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].split() == ["address", "ok", environment.url]
