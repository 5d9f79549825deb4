"""`tidegate serve`: what a start says, what it refuses, and that nothing is left of it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import urllib3
from tidegate_server.errors import PortTaken, StartupRefused
from tidegate_server.processes import supervisor
from tidegate_server.processes.supervisor import Supervisor, check_port
from tidegate_server.store.embedded import EmbeddedValkey

from examples.shop.processes import free_port
from tests.cli.calls import Result, Tidegate
from tests.cli.conftest import RunningServer
from tests.end_to_end.deployment import descendants
from tests.processes.test_settings import SETTINGS


@pytest.fixture
def folder() -> Iterator[Path]:
    """Somewhere short, as the path of a unix socket has to be."""
    path = Path(tempfile.mkdtemp(prefix="tg-cli-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


class Running:
    """A server that was started, with all that it has said so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[str] = []
        assert process.stdout is not None
        for line in process.stdout:
            self.said.append(line)
            if "serves at" in line:
                break

    def end(self, number: signal.Signals = signal.SIGINT) -> Result:
        """Send a signal as a terminal does, to the whole group; returns all that was said."""
        os.killpg(self.process.pid, number)
        out, err = self.process.communicate(timeout=30)
        return Result(self.process.returncode, "".join(self.said) + out, err)


@contextmanager
def serving(folder: Path, *words: str) -> Iterator[Running]:
    someone = Tidegate({"TIDEGATE_DATA_DIR": str(folder / "data")})
    port = str(free_port())
    process = someone.process("serve", "--workers", "1", "--port", port, *words)
    try:
        yield Running(process)
    finally:
        process.kill()
        process.communicate()


def url_of(running: Running) -> str:
    return running.said[-1].split("serves at ")[1].split(",")[0]


def tokens_in(text: str) -> list[str]:
    return [word for word in text.split() if word.startswith("tg_admin_")]


def test_the_first_start_prints_a_token_once_and_ctrl_c_leaves_nothing(folder: Path) -> None:
    with serving(folder) as first:
        children = [pid for pid, _ in descendants(first.process.pid)]
        assert len(children) >= 4  # the store, gunicorn, its worker, the policy job
        url = url_of(first)
        # A client that keeps its connection open does not keep the server.
        with urllib3.PoolManager(retries=False) as idle:
            assert idle.request("GET", f"{url}/health/live").status == 200
            said = first.end(signal.SIGINT)
    assert said.status == 0
    (token,) = tokens_in(said.out + said.err)
    assert f"data in {folder / 'data'}" in said.out
    assert "graceful timeout" not in said.err
    assert "Traceback" not in said.err
    assert [pid for pid in children if runs(pid)] == []
    with serving(folder) as second:
        someone = Tidegate({"TIDEGATE_URL": url_of(second), "TIDEGATE_TOKEN": token})
        assert [each["key"] for each in someone.json("project", "list")] == ["default"]
        said = second.end(signal.SIGTERM)
    assert (said.status, tokens_in(said.out + said.err)) == (0, [])


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_second_start_on_the_same_folder_is_refused(server: RunningServer) -> None:
    second = Tidegate({"TIDEGATE_DATA_DIR": str(server.data_dir)})
    process = second.process("serve", "--port", str(free_port()))
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (2, "")
    assert err == (
        f"tidegate: The data folder {server.data_dir} is in use by another tidegate serve "
        f"(process {server.pid}); stop that one, or name another folder in TIDEGATE_DATA_DIR.\n"
    )
    # The server that has it is none the worse for it.
    urllib3.request("GET", f"{server.url}/health/ready", retries=False)


def test_a_port_that_is_taken_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "PORT_SECONDS", 0.0)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        settings = replace(SETTINGS, port=port, data_dir=folder / "data")
        with pytest.raises(PortTaken, match="another program serves there"):
            Supervisor(settings, print).run()
    assert list(folder.iterdir()) == []
    check_port("127.0.0.1", port)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(StartupRefused, match="Choose another TIDEGATE_PORT or TIDEGATE_HOST"):
        check_port("192.0.2.1", 8080)


def test_another_secret_key_is_refused(server: RunningServer, folder: Path) -> None:
    store = EmbeddedValkey(server.data_dir).url
    second = Tidegate(
        {
            "TIDEGATE_DATA_DIR": str(folder),
            "TIDEGATE_STORE_URL": store,
            "TIDEGATE_SECRET_KEY": "another key of 16 characters",
        }
    )
    process = second.process("serve", "--port", str(free_port()))
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (2, "")
    assert "created with another secret key" in err


def test_a_store_that_is_away_is_not_reached(folder: Path) -> None:
    someone = Tidegate({"TIDEGATE_STORE_URL": "redis://127.0.0.1:9/0"})
    process = someone.process("serve", "--port", str(free_port()), "--data-dir", str(folder))
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (4, "")
    assert err.startswith("tidegate: ")


def test_a_policy_job_runs_alone_beside_the_servers(server: RunningServer) -> None:
    store = EmbeddedValkey(server.data_dir).url
    key = (server.data_dir / "secret.key").read_text()
    alone = Tidegate({"TIDEGATE_STORE_URL": store, "TIDEGATE_SECRET_KEY": key})
    process = alone.process("policy-job", "--log-level", "debug")
    os.killpg(process.pid, signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode in (0, -signal.SIGTERM)


@pytest.mark.parametrize(
    ("key", "words"),
    [("another key of 16 characters", "created with another secret key"), ("short", "at least 16")],
)
def test_a_policy_job_that_would_sign_with_another_key_does_not_start(
    server: RunningServer, key: str, words: str
) -> None:
    store = EmbeddedValkey(server.data_dir).url
    someone = Tidegate({"TIDEGATE_STORE_URL": store, "TIDEGATE_SECRET_KEY": key})
    out, err = someone.process("policy-job").communicate(timeout=30)
    assert out == ""
    assert words in err
