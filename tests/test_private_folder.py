"""A data folder is its owner's alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from tidegate_server.errors import StartupRefused
from tidegate_server.private_folder import make_private


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder that an older version left open to others."""
    made = tmp_path / "data"
    (made / "appendonlydir").mkdir(parents=True)
    for name in ("secret.key", "lock", "valkey.log", "appendonlydir/appendonly.aof.1.incr.aof"):
        (made / name).write_text("")
        (made / name).chmod(0o644)
    (made / "appendonlydir").chmod(0o755)
    made.chmod(0o755)
    return made


def test_a_folder_that_others_can_read_is_narrowed_with_its_files(folder: Path) -> None:
    assert make_private(folder) == 0o755
    assert mode(folder) == 0o700
    assert {mode(each) & 0o077 for each in folder.rglob("*")} == {0}
    assert make_private(folder) is None


def test_a_folder_with_other_files_is_refused_and_left_alone(folder: Path) -> None:
    (folder / "letters.txt").write_text("mine")
    with pytest.raises(StartupRefused, match=r"mode 755.*'letters\.txt'.*chmod 700"):
        make_private(folder)
    assert mode(folder) == 0o755
    assert mode(folder / "secret.key") == 0o644
    folder.chmod(0o700)
    assert make_private(folder) is None


def test_a_shared_folder_is_refused(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    with pytest.raises(StartupRefused, match="is a shared folder"):
        make_private(shared)
    assert mode(shared) == 0o1777


def test_a_link_in_the_folder_is_not_followed(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("")
    target.chmod(0o644)
    (folder / "valkey.log").unlink()
    (folder / "valkey.log").symlink_to(target)
    make_private(folder)
    assert mode(target) == 0o644


def refuse_chmod(path: Path, mode: int) -> None:
    raise PermissionError(1, "Operation not permitted", str(path))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can have a folder of root")
@pytest.mark.parametrize(("before", "allowed"), [(0o2775, True), (0o2777, False)])
def test_a_mounted_volume_of_root_is_used_unless_everybody_may_write(
    folder: Path, monkeypatch: pytest.MonkeyPatch, before: int, allowed: bool
) -> None:
    folder.chmod(before)
    monkeypatch.setattr(Path, "chmod", refuse_chmod)
    if allowed:
        assert make_private(folder) is None
    else:
        with pytest.raises(StartupRefused, match="belongs to another user"):
            make_private(folder)
