from __future__ import annotations

import json
import logging
import multiprocessing
import os
import socket
import stat
import threading
from pathlib import Path

import pytest
from tidegate.persistence import SnapshotFile

URL = "http://flags.example"
TOKEN = "tg_sdk_abc_secret"


def document(version: int = 7, padding: str = "") -> bytes:
    return json.dumps({"schema": 1, "version": version, "padding": padding}).encode()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "flags"


def test_a_saved_snapshot_is_loaded(path: Path) -> None:
    SnapshotFile(path, URL, TOKEN).save(document())
    assert SnapshotFile(path, URL + "/", TOKEN).load() == document()


def test_a_missing_file_logs_nothing(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert SnapshotFile(path, URL, TOKEN).load() is None
    assert caplog.records == []


def test_only_the_owner_can_read_the_file_and_it_has_no_secret(path: Path) -> None:
    SnapshotFile(path, URL, TOKEN).save(document())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert TOKEN not in path.read_text()


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text", "json"])
def test_a_damaged_file_is_ignored_with_one_log_line(
    path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    file = SnapshotFile(path, URL, TOKEN)
    file.save(document())
    whole = path.read_bytes()
    path.write_bytes(
        {
            "cut": whole[:-5],
            "flipped": whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:],
            "empty": b"",
            "text": b"not a snapshot\n",
            "json": document(),
        }[damage]
    )
    assert file.load() is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "ignored" in caplog.text


@pytest.mark.parametrize(("url", "token"), [("http://other.example", TOKEN), (URL, "another")])
def test_flags_for_another_server_or_token_are_ignored(
    path: Path, caplog: pytest.LogCaptureFixture, url: str, token: str
) -> None:
    SnapshotFile(path, URL, TOKEN).save(document())
    assert SnapshotFile(path, url, token).load() is None
    assert "another server or token" in caplog.text


def test_a_folder_that_cannot_be_written_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    file = SnapshotFile(tmp_path / "file" / "flags", URL, TOKEN)
    file.save(document())
    file.save(document())
    assert len(caplog.records) == 1
    assert "cannot cache the flags" in caplog.text


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_a_name_that_no_file_can_have_is_logged_and_never_raised(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    file = SnapshotFile(tmp_path / name, URL, TOKEN)
    assert file.load() is None
    file.save_key_sets({})
    file.save(document())
    assert file.load_key_sets({}) == {}
    assert f"cannot cache the flags in {tmp_path / name}" in caplog.text


def test_a_failed_save_keeps_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = SnapshotFile(path, URL, TOKEN)
    file.save(document(1))

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full_disk)
    file.save(document(2))
    assert file.load() == document(1)
    assert [each.name for each in path.parent.iterdir()] == ["flags"]


def write_often(path: str, first: int) -> None:
    file = SnapshotFile(path, URL, TOKEN)
    for version in range(first, first + 200):
        file.save(document(version, "x" * (version % 97) * 50))


def test_processes_that_write_at_the_same_time_leave_one_whole_file(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [
        context.Process(target=write_often, args=(str(path), first)) for first in (1_000, 2_000)
    ]
    for writer in writers:
        writer.start()
    reader = SnapshotFile(path, URL, TOKEN)
    seen = 0
    while any(writer.is_alive() for writer in writers):
        if path.exists():
            assert reader.load() is not None
            seen += 1
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert seen
    assert [each.name for each in path.parent.iterdir()] == ["flags"]


def test_a_link_stays_and_its_target_is_replaced(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere" / "flags"
    path.parent.mkdir()
    path.symlink_to(Path("..") / "elsewhere" / "flags")
    for version in (1, 2):
        SnapshotFile(path, URL, TOKEN).save(document(version))
        assert path.is_symlink()
        assert not target.is_symlink()
        assert SnapshotFile(path, URL, TOKEN).load() == document(version)
    assert [each.name for each in target.parent.iterdir()] == ["flags"]


@pytest.mark.parametrize("kind", ["device", "link to a device", "pipe", "folder", "socket"])
def test_what_is_not_a_file_is_neither_read_nor_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    path = tmp_path / "flags"
    if kind == "device":
        path = Path("/dev/full")
    elif kind == "link to a device":
        path.symlink_to("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    else:
        path.mkdir()
    before = path.stat()
    file = SnapshotFile(path, URL, TOKEN)
    assert file.load() is None
    file.save(document())
    file.save(document())
    assert (path.stat().st_ino, path.stat().st_mode) == (before.st_ino, before.st_mode)
    assert len(caplog.records) == 1
    assert "is not a file, choose another cache_path" in caplog.text


def test_a_draft_that_someone_else_has_planted_is_not_followed(
    path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    victim = tmp_path / "victim"
    victim.write_text("mine")
    draft = f".{path.name}.{os.getpid()}.{threading.get_ident()}.draft"
    (path.parent / draft).symlink_to(victim)
    SnapshotFile(path, URL, TOKEN).save(document())
    assert victim.read_text() == "mine"
    assert "cannot cache the flags" in caplog.text
