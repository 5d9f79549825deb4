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
from tidegate_server.store.data_folder import LONGEST_SOCKET_PATH, DataFolder

from tests.waiting import until

HOLD = """
import sys, time
from pathlib import Path
from tidegate_server.store.data_folder import DataFolder
folder = DataFolder(Path(sys.argv[1]))
folder.take()
print("taken", flush=True)
time.sleep(600)
"""


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's name."""
    with tempfile.TemporaryDirectory(prefix="tg-") as folder:
        yield Path(folder)


@pytest.fixture
def deep(short: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder whose path is too long for a socket, beside a folder for short ones."""
    temporary = short / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return short / ("deep" * 20) / "data"


@contextmanager
def another_process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "taken\n"
        yield holder
    finally:
        holder.kill()
        holder.communicate()


class TestTaking:
    def test_makes_the_folder_for_its_owner_alone(self, short: Path) -> None:
        folder = DataFolder(short / "new" / "data")
        folder.take()
        assert folder.path.stat().st_mode & 0o777 == 0o700
        folder.let_go()

    def test_is_refused_while_another_process_has_it_whose_number_is_told(
        self, short: Path
    ) -> None:
        with another_process(short) as holder:
            with pytest.raises(StartupRefused) as refused:
                DataFolder(short).take()
            assert f"process {holder.pid}" in refused.value.message
            assert str(short) in refused.value.message

    def test_works_again_after_the_holder_was_killed(self, short: Path) -> None:
        with another_process(short) as holder:
            holder.kill()
            holder.wait()
            folder = DataFolder(short)
            folder.take()
            assert (short / "lock").read_text() == str(os.getpid())
            folder.let_go()

    def test_works_again_after_it_was_let_go(self, short: Path) -> None:
        first, second = DataFolder(short), DataFolder(short)
        first.take()
        with pytest.raises(StartupRefused):
            second.take()
        first.let_go()
        second.take()
        second.let_go()

    @pytest.mark.parametrize("obstacle", ["a file", "a folder of others"])
    def test_what_cannot_be_used_is_named_with_what_to_do(self, short: Path, obstacle: str) -> None:
        place = short / "data"
        if obstacle == "a file":
            place.write_text("in the way")
        elif os.getuid() == 0:
            pytest.skip("root may write everywhere")
        else:
            place.mkdir(mode=0o500)
        with pytest.raises(StartupRefused) as refused:
            DataFolder(place).take()
        assert f"{place} cannot be used" in refused.value.message
        assert "TIDEGATE_DATA_DIR" in refused.value.message


class TestTheSocket:
    def test_lies_in_the_folder(self, short: Path) -> None:
        assert DataFolder(short).socket == short / "valkey.sock"

    def test_lies_in_a_short_folder_of_ones_own_where_the_path_is_too_long(
        self, deep: Path
    ) -> None:
        folder = DataFolder(deep)
        folder.take()
        assert len(os.fsencode(folder.socket)) <= LONGEST_SOCKET_PATH
        assert not folder.socket.is_relative_to(deep)
        assert folder.socket.parent.stat().st_mode & 0o777 == 0o700
        folder.let_go()

    def test_of_two_deep_folders_are_two(self, deep: Path) -> None:
        assert DataFolder(deep).socket != DataFolder(deep.with_name("other")).socket

    @pytest.mark.parametrize("trap", ["open to others", "a link"])
    def test_is_not_put_where_others_could_replace_it(self, deep: Path, trap: str) -> None:
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
            folder.take()
        assert str(place) in refused.value.message
        # Nor is the data folder kept.
        place.unlink() if trap == "a link" else place.rmdir()
        folder.take()
        folder.let_go()


class TestAStoresLock:
    """Held by a process that stands for a store."""

    @contextmanager
    def store(self, folder: DataFolder, program: str) -> Iterator[subprocess.Popen[bytes]]:
        with folder.lock_for_store() as lock:
            process = subprocess.Popen(
                [sys.executable, "-c", program],
                pass_fds=(lock.fileno(),),
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
            folder.name_store(lock, process.pid)
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

    def test_ends_a_store_that_was_left_behind(self, short: Path) -> None:
        program = "import time; print('up', flush=True); time.sleep(600)"
        with self.store(DataFolder(short), program) as orphan:
            DataFolder(short).lock_for_store().close()
            until(lambda: orphan.poll() is not None)

    def test_ends_what_a_dead_store_has_started_too(self, short: Path) -> None:
        """As when it is killed while a child of its own writes a shorter file."""
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
            # The lock is the proof: the child has it too, and takes it into its grave.
            DataFolder(short).lock_for_store().close()

    def test_that_cannot_be_freed_stops_the_start(
        self, short: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tidegate_server.store.data_folder.STOP_SECONDS", 0.05)
        folder = DataFolder(short)
        with folder.lock_for_store(), pytest.raises(StartupRefused) as refused:
            folder.lock_for_store()
        assert "A store still uses" in refused.value.message

    def test_removes_the_socket_of_a_store_that_is_no_more(self, short: Path) -> None:
        folder = DataFolder(short)
        folder.socket.touch()
        folder.lock_for_store().close()
        assert not folder.socket.exists()
