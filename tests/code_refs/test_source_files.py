"""The files that a scan reads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tidegate_server.code_refs.settings import ScanSettings
from tidegate_server.code_refs.source_files import MAX_BYTES, SourceTree
from tidegate_server.errors import StartupRefused

from tests.code_refs.trees import found, git, scan, write

USE = "ask('k')\n"


def paths(root: Path) -> list[str]:
    """Return the files in which a scan finds the flag ``k``."""
    return [path for path, _, _, _ in found(scan(root, ("k",)))]


@pytest.mark.parametrize("in_repository", [True, False])
def test_what_git_ignores_is_left_out(tmp_path: Path, in_repository: bool) -> None:
    if in_repository:
        git(tmp_path, "init", "-q")
    write(
        tmp_path,
        {
            ".gitignore": "build/\n*.gen.js\n!keep.gen.js\n",
            "a.js": USE,
            "build/b.js": USE,
            "c.gen.js": USE,
            "keep.gen.js": USE,
            "deep/.gitignore": "d.js\n",
            "deep/d.js": USE,
            "deep/e é.js": USE,
        },
    )
    before = sorted(tmp_path.rglob("*"))
    assert paths(tmp_path) == ["a.js", "deep/e é.js", "keep.gen.js"]
    assert paths(tmp_path / "deep") == ["e é.js"]
    assert sorted(tmp_path.rglob("*")) == before


def test_files_that_are_committed_or_new_are_searched_and_deleted_ones_are_not(
    tmp_path: Path,
) -> None:
    git(tmp_path, "init", "-q")
    write(tmp_path, {"a.js": USE, "gone.js": USE})
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "x")
    (tmp_path / "gone.js").unlink()
    write(tmp_path, {"new.js": USE})
    assert paths(tmp_path) == ["a.js", "new.js"]


@pytest.mark.parametrize("in_repository", [True, False])
def test_links_are_never_followed(tmp_path: Path, in_repository: bool) -> None:
    outside = write(tmp_path / "outside", {"secret.js": USE, "folder/secret.js": USE})
    root = write(tmp_path / "root", {"a.js": USE})
    (root / "file.js").symlink_to(outside / "secret.js")
    (root / "folder").symlink_to(outside / "folder")
    os.mkfifo(root / "pipe.js")
    if in_repository:
        git(root, "init", "-q")
        git(root, "add", "a.js", "file.js", "folder")
    assert paths(root) == ["a.js"]
    assert SourceTree(root).read("folder/secret.js") is None


def test_large_and_binary_files_are_counted_and_left_out(tmp_path: Path) -> None:
    write(tmp_path, {"a.js": USE, "big.js": USE + " " * MAX_BYTES, "binary.js": USE + "\0"})
    result = scan(tmp_path, ("k",))
    assert [path for path, *_ in found(result)] == ["a.js"]
    assert (result.files, result.skipped_large, result.skipped_binary) == (1, 1, 1)


def test_without_git_the_usual_folders_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"a.js": USE, "node_modules/b.js": USE, "src/.venv/c.js": USE, "src/d.js": USE})
    monkeypatch.setenv("PATH", str(tmp_path))
    result = scan(tmp_path, ("k",))
    assert [path for path, *_ in found(result)] == ["a.js", "src/d.js"]
    assert "git is not installed" in result.warnings[0]


def test_git_runs_no_program_of_the_repository(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    write(tmp_path, {"a.js": USE, "evil.sh": "#!/bin/sh\ntouch ran\n"})
    (tmp_path / "evil.sh").chmod(0o755)
    git(tmp_path, "config", "core.fsmonitor", "./evil.sh")
    assert paths(tmp_path) == ["a.js"]
    assert not (tmp_path / "ran").exists()


def test_variables_of_a_git_hook_do_not_mislead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write(tmp_path / "other", {"x.js": USE})
    git(other, "init", "-q")
    root = write(tmp_path / "root", {"a.js": USE})
    git(root, "init", "-q")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    assert paths(root) == ["a.js"]


def test_excluded_paths_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, {"a.js": USE, "docs/b.js": USE, "docs/deep/c.js": USE, "d.min.js": USE})
    result = scan(tmp_path, ("k",), ScanSettings(exclude=("docs", "*.min.js")))
    assert [path for path, *_ in found(result)] == ["a.js"]


def test_a_file_is_no_tree(tmp_path: Path) -> None:
    write(tmp_path, {"a.js": USE})
    with pytest.raises(StartupRefused, match="not a folder"):
        SourceTree(tmp_path / "a.js")
