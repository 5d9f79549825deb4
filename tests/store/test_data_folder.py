from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tidegate_server.errors import StartupRefused
from tidegate_server.store.data_folder import MAX_SOCKET_PATH, DataFolder

from tests.waiting import until

HOLD = """
import sys, time
from pathlib import Path
from tidegate_server.store.data_folder import DataFolder
folder = DataFolder(Path(sys.argv[1]))
folder.lock()
print("locked", flush=True)
time.sleep(600)
"""


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="tg-") as folder:
        yield Path(folder)


@pytest.fixture
def deep(short: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder whose path is too long for a socket; the temporary folder's is not."""
    temporary = short / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return short / ("deep" * 20) / "data"


@contextmanager
def locked_by_another_process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        yield holder
    finally:
        holder.kill()
        holder.communicate()


class TestLock:
    def test_creates_the_folder_for_its_owner_only(self, short: Path) -> None:
        folder = DataFolder(short / "new" / "data")
        folder.lock()
        assert folder.path.stat().st_mode & 0o777 == 0o700
        folder.unlock()

    def test_is_refused_with_the_id_of_the_process_that_holds_it(self, short: Path) -> None:
        with locked_by_another_process(short) as holder:
            with pytest.raises(StartupRefused) as refused:
                DataFolder(short).lock()
            assert f"process {holder.pid}" in refused.value.message
            assert str(short) in refused.value.message

    def test_is_free_after_its_holder_was_killed(self, short: Path) -> None:
        with locked_by_another_process(short) as holder:
            holder.kill()
            holder.wait()
            folder = DataFolder(short)
            folder.lock()
            assert (short / "lock").read_text() == str(os.getpid())
            folder.unlock()

    def test_is_free_after_it_was_unlocked(self, short: Path) -> None:
        first, second = DataFolder(short), DataFolder(short)
        first.lock()
        with pytest.raises(StartupRefused):
            second.lock()
        first.unlock()
        second.lock()
        second.unlock()

    @pytest.mark.parametrize("obstacle", ["a file", "a folder of others"])
    def test_an_unusable_folder_is_named_with_the_fix(self, short: Path, obstacle: str) -> None:
        place = short / "data"
        if obstacle == "a file":
            place.write_text("in the way")
        elif os.getuid() == 0:
            pytest.skip("root may write everywhere")
        else:
            place.mkdir(mode=0o500)
        with pytest.raises(StartupRefused) as refused:
            DataFolder(place).lock()
        assert f"{place} cannot be used" in refused.value.message
        assert "TIDEGATE_DATA_DIR" in refused.value.message


class TestSocket:
    def test_is_in_the_folder(self, short: Path) -> None:
        assert DataFolder(short).socket == short / "valkey.sock"

    def test_is_in_a_private_temporary_folder_if_the_path_is_too_long(self, deep: Path) -> None:
        folder = DataFolder(deep)
        folder.lock()
        assert len(os.fsencode(folder.socket)) <= MAX_SOCKET_PATH
        assert not folder.socket.is_relative_to(deep)
        assert folder.socket.parent.stat().st_mode & 0o777 == 0o700
        folder.unlock()

    def test_is_different_for_each_folder(self, deep: Path) -> None:
        assert DataFolder(deep).socket != DataFolder(deep.with_name("other")).socket

    @pytest.mark.parametrize("trap", ["open to others", "a link"])
    def test_is_never_in_a_folder_that_others_can_write_to(self, deep: Path, trap: str) -> None:
        folder = DataFolder(deep)
        place = folder.socket.parent
        if trap == "a link":
            elsewhere = place.with_name("elsewhere")
            elsewhere.mkdir(mode=0o700)
            place.symlink_to(elsewhere)
        else:
            place.mkdir()
            place.chmod(0o777)
        with pytest.raises(StartupRefused) as refused:
            folder.lock()
        assert str(place) in refused.value.message
        # The data folder is unlocked again.
        place.unlink() if trap == "a link" else place.rmdir()
        folder.lock()
        folder.unlock()


class TestStoreLock:
    """The lock of a process that stands in for a store."""

    @contextmanager
    def store(self, folder: DataFolder, program: str) -> Iterator[subprocess.Popen[bytes]]:
        with folder.lock_for_store() as lock:
            process = subprocess.Popen(
                [sys.executable, "-c", program],
                pass_fds=(lock.fileno(),),
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
            folder.record_store(lock, process.pid)
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n"
            yield process
        finally:
            process.kill()
            process.communicate()

    def test_is_free_when_no_store_runs(self, short: Path) -> None:
        folder = DataFolder(short)
        folder.lock_for_store().close()
        folder.lock_for_store().close()

    def test_stops_an_orphaned_store(self, short: Path) -> None:
        program = "import time; print('up', flush=True); time.sleep(600)"
        with self.store(DataFolder(short), program) as orphan:
            DataFolder(short).lock_for_store().close()
            until(lambda: orphan.poll() is not None)

    def test_stops_the_children_of_a_dead_store_too(self, short: Path) -> None:
        """As if the store is killed while its child rewrites the append-only file."""
        program = (
            "import os, time\n"
            "if os.fork():\n"
            "    print('up', flush=True)\n"
            "    time.sleep(600)\n"
            "time.sleep(600)\n"
        )
        with self.store(DataFolder(short), program) as orphan:
            orphan.kill()
            orphan.wait()
            # The lock proves it: the child holds it too until it ends.
            DataFolder(short).lock_for_store().close()

    def test_of_a_store_that_does_not_stop_refuses_the_start(
        self, short: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tidegate_server.store.data_folder.STOP_SECONDS", 0.05)
        folder = DataFolder(short)
        with folder.lock_for_store(), pytest.raises(StartupRefused) as refused:
            folder.lock_for_store()
        assert "A store still uses" in refused.value.message

    def test_removes_the_socket_of_a_dead_store(self, short: Path) -> None:
        folder = DataFolder(short)
        folder.socket.touch()
        folder.lock_for_store().close()
        assert not folder.socket.exists()
