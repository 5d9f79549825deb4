"""`tidegate serve`: its output, what it refuses to start with, and that it stops every process."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
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
    """A folder whose path is short enough for a unix socket."""
    path = Path(tempfile.mkdtemp(prefix="tg-cli-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


class Running:
    """A running server and its output so far."""

    def __init__(self, process: subprocess.Popen[str], until: str = "serves at") -> None:
        self.process = process
        self.lines: list[str] = []
        self.read_until(until)

    def read_until(self, text: str) -> None:
        """Read the output up to a line that has this text."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if text in line:
                break

    def stop(self, number: signal.Signals = signal.SIGINT) -> Result:
        """Send a signal to the process group, as a terminal does; return the whole output."""
        os.killpg(self.process.pid, number)
        out, err = self.process.communicate(timeout=60)
        return Result(self.process.returncode, "".join(self.lines) + out, err)


@contextmanager
def running_server(folder: Path, *words: str, until: str = "serves at") -> Iterator[Running]:
    tidegate = Tidegate({"TIDEGATE_DATA_DIR": str(folder / "data")})
    port = str(free_port())
    process = tidegate.process("serve", "--workers", "1", "--port", port, *words)
    try:
        yield Running(process, until)
    finally:
        process.kill()
        process.communicate()


def url_of(running: Running) -> str:
    return running.lines[-1].split("serves at ")[1].split(",")[0]


def tokens_in(text: str) -> list[str]:
    return [word for word in text.split() if word.startswith("tg_admin_")]


def test_the_first_start_prints_a_token_and_ctrl_c_stops_every_process(folder: Path) -> None:
    with running_server(folder) as first:
        children = [pid for pid, _ in descendants(first.process.pid)]
        assert len(children) >= 4  # the store, gunicorn, its worker, the policy job
        url = url_of(first)
        # A client that keeps its connection open does not delay the stop.
        with urllib3.PoolManager(retries=False) as idle:
            assert idle.request("GET", f"{url}/health/live").status == 200
            result = first.stop(signal.SIGINT)
    assert result.status == 0
    (token,) = tokens_in(result.out + result.err)
    assert f"works once within 24 hours: {url}/invitation#tgi_first_" in result.out
    assert f"data in {folder / 'data'}" in result.out
    assert "store_upgraded" not in result.err
    assert "graceful timeout" not in result.err
    assert "Traceback" not in result.err
    assert [pid for pid in children if runs(pid)] == []
    with running_server(folder) as second:
        tidegate = Tidegate({"TIDEGATE_URL": url_of(second), "TIDEGATE_TOKEN": token})
        assert [each["key"] for each in tidegate.json("project", "list")] == ["default"]
        result = second.stop(signal.SIGTERM)
    assert (result.status, tokens_in(result.out + result.err)) == (0, [])


def test_the_invitation_leads_to_the_address_that_people_open(folder: Path) -> None:
    with running_server(folder, "--public-url", "https://flags.example.com/") as running:
        result = running.stop()
    assert ": https://flags.example.com/invitation#tgi_first_" in result.out


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_store_that_is_killed_during_the_start_is_started_again(folder: Path) -> None:
    with running_server(folder, until="Admin token") as running:
        os.kill(int((folder / "data" / "store.lock").read_text()), signal.SIGKILL)
        running.read_until("serves at")
        assert urllib3.request("GET", f"{url_of(running)}/health/ready").status == 200
        result = running.stop()
    assert result.status == 0
    assert "embedded store" in result.err


def test_a_second_start_on_the_same_folder_is_refused(server: RunningServer) -> None:
    second = Tidegate({"TIDEGATE_DATA_DIR": str(server.data_dir)})
    process = second.process("serve", "--port", str(free_port()))
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert err == (
        f"tidegate: The data folder {server.data_dir} is in use by another tidegate serve "
        f"(process {server.pid}). Stop it, or set TIDEGATE_DATA_DIR to another folder.\n"
    )
    # The first server still runs.
    urllib3.request("GET", f"{server.url}/health/ready", retries=False)


def test_a_used_port_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "PORT_SECONDS", 0.0)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        settings = replace(SETTINGS, port=port, data_dir=folder / "data")
        with pytest.raises(PortTaken, match="another program uses it"):
            Supervisor(settings, print).run()
    assert list(folder.iterdir()) == []
    check_port("127.0.0.1", port)


def test_a_host_of_another_machine_is_refused() -> None:
    with pytest.raises(StartupRefused, match="Set TIDEGATE_PORT or TIDEGATE_HOST to another one"):
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
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert "created with another secret key" in err


def test_settings_from_files_may_end_with_a_line_break(server: RunningServer, folder: Path) -> None:
    """Secrets of Kubernetes often do."""
    store = EmbeddedValkey(server.data_dir).url
    key = (server.data_dir / "secret.key").read_text().strip()
    second = Tidegate(
        {
            "TIDEGATE_DATA_DIR": str(folder),
            "TIDEGATE_HOST": "127.0.0.1\n",
            "TIDEGATE_STORE_URL": f"{store}\n",
            "TIDEGATE_SECRET_KEY": f"{key}\n",
            "TIDEGATE_BOOTSTRAP_TOKEN": "correct-horse-battery-staple\r\n",
        }
    )
    process = second.process("serve", "--workers", "1", "--port", str(free_port()))
    try:
        running = Running(process)
        variables = {
            "TIDEGATE_URL": f"{url_of(running).strip()}/\n",
            "TIDEGATE_TOKEN": f"{server.token}\n",
        }
        projects = Tidegate(variables).json("project", "list")
        assert "default" in [each["key"] for each in projects]
        assert running.stop().status == 0
    finally:
        process.kill()
        process.communicate()


def test_an_unreachable_store_exits_with_4(folder: Path) -> None:
    tidegate = Tidegate({"TIDEGATE_STORE_URL": "redis://127.0.0.1:9/0"})
    process = tidegate.process("serve", "--port", str(free_port()), "--data-dir", str(folder))
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (4, "")
    assert err.startswith("tidegate: ")


def test_a_policy_job_can_run_by_itself(server: RunningServer) -> None:
    store = EmbeddedValkey(server.data_dir).url
    key = (server.data_dir / "secret.key").read_text()
    alone = Tidegate({"TIDEGATE_STORE_URL": store, "TIDEGATE_SECRET_KEY": key})
    process = alone.process("policy-job")
    try:
        assert process.stderr is not None
        started = next((line for line in process.stderr if "policy_job_started" in line), "")
        os.killpg(process.pid, signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, bool(started)) == (0, True), err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("key", "words"),
    [("another key of 16 characters", "created with another secret key"), ("short", "at least 16")],
)
def test_a_policy_job_with_another_secret_key_is_refused(
    server: RunningServer, key: str, words: str
) -> None:
    store = EmbeddedValkey(server.data_dir).url
    tidegate = Tidegate({"TIDEGATE_STORE_URL": store, "TIDEGATE_SECRET_KEY": key})
    out, err = tidegate.process("policy-job").communicate(timeout=60)
    assert out == ""
    assert words in err


def test_what_a_server_writes_is_for_its_owner_only(folder: Path) -> None:
    (folder / "data").mkdir(mode=0o755)
    (folder / "data").chmod(0o755)
    with running_server(folder) as running:
        said = running.stop(signal.SIGTERM)
    assert "data_folder_made_private" in said.err
    modes = {
        str(each): stat.S_IMODE(each.lstat().st_mode)
        for each in ((folder / "data"), *(folder / "data").rglob("*"))
    }
    assert len(modes) > 5
    assert {path: oct(mode) for path, mode in modes.items() if mode & 0o077} == {}
