from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate_server.store.append_only_file import cut_damaged_end


def command(*arguments: bytes) -> bytes:
    parts = [b"$%d\r\n%s\r\n" % (len(each), each) for each in arguments]
    return b"*%d\r\n%s" % (len(parts), b"".join(parts))


SET = command(b"SET", b"name", b"a value\r\nof *1\n two lines")
TRANSACTION = [command(b"MULTI"), SET, command(b"XADD", b"log", b"*", b"a", b"b"), command(b"EXEC")]
START = command(b"SELECT", b"0") + SET + b"#TS:1700000000\r\n" + SET


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The newest file of a data folder."""
    folder = tmp_path / "appendonlydir"
    folder.mkdir()
    (folder / "appendonly.aof.9.incr.aof").write_bytes(b"an older one")
    return folder / "appendonly.aof.10.incr.aof"


@pytest.mark.parametrize("content", [b"", START, START + b"".join(TRANSACTION)])
def test_an_undamaged_file_is_left_alone(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert cut_damaged_end(file.parents[1]) is None
    assert file.read_bytes() == content


def test_a_folder_without_a_file_is_left_alone(tmp_path: Path) -> None:
    assert cut_damaged_end(tmp_path) is None


@pytest.mark.parametrize(
    "end",
    [
        b"\0" * 4096,
        b"\xff\x00garbage",
        SET[:-9] + b"\0" * 9,
        SET[:6] + b"\0" * 100,
        b"*3\r\n$3\r\nSET\r\n$99\r\n" + b"\0" * 300,
        TRANSACTION[0] + TRANSACTION[1] + b"\0" * 64,
        b"".join(TRANSACTION[:3]) + b"*1\r\n\0\0\0\0",
    ],
)
def test_a_damaged_end_is_cut_off_and_copied(file: Path, end: bytes) -> None:
    file.write_bytes(START + end)
    cut = cut_damaged_end(file.parents[1])
    assert cut is not None
    assert (cut.file, cut.position, cut.length) == (file, len(START), len(end))
    assert file.read_bytes() == START
    assert cut.copy.read_bytes() == end
    assert cut_damaged_end(file.parents[1]) is None


@pytest.mark.parametrize("damage", [b"\0" * 64, b"x", b"*2\r\n\0"])
def test_damage_before_other_commands_is_left_alone(file: Path, damage: bytes) -> None:
    content = START + damage + SET
    file.write_bytes(content)
    assert cut_damaged_end(file.parents[1]) is None
    assert file.read_bytes() == content


@settings(max_examples=50)
@given(
    before=st.lists(st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=3)),
    end=st.sampled_from([0, 1, 3]).flatmap(lambda byte: st.just(bytes([byte]) * 20)),
)
def cut_after_commands(folder: Path, before: list[list[bytes]], end: bytes) -> None:
    file = folder / "appendonlydir" / "appendonly.aof.1.incr.aof"
    commands = b"".join(command(b"SET", *arguments) for arguments in before)
    file.write_bytes(commands + end)
    cut = cut_damaged_end(folder)
    assert cut is not None
    assert file.read_bytes() == commands
    cut.copy.unlink()


def test_complete_commands_are_kept_whatever_they_contain(tmp_path: Path) -> None:
    (tmp_path / "appendonlydir").mkdir()
    cut_after_commands(tmp_path)
