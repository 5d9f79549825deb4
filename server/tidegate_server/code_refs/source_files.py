"""The files of a source tree that a scan reads: those that git would keep, without links.

git itself says what it ignores. For a folder outside of a repository it gets an empty repository
elsewhere, so that nothing is written to the folder.
"""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tidegate_server.errors import StartupRefused

MAX_FILES = 200_000
MAX_BYTES = 1024 * 1024
"""Larger files are generated, or data."""

BINARY_PROBE = 8192
GIT_SECONDS = 120
NEVER_SOURCE = frozenset(
    {".git", ".hg", ".svn", ".venv", "venv", "node_modules", "__pycache__", ".tox", ".mypy_cache"}
)
"""Folders that are left out where git cannot be asked."""

# A repository's own settings must not run programs on the machine that scans it.
GIT = ("git", "-c", "core.fsmonitor=false", "-c", "core.quotePath=false")


@dataclass(slots=True)
class SourceTree:
    """The files of a folder; counts what it leaves out.

    Raises:
        StartupRefused: there is no such folder, or it has too many files.
    """

    root: Path
    large: int = 0
    binary: int = 0
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.root.is_dir():
            raise StartupRefused(f"{self.root} is not a folder.")

    def paths(self) -> list[str]:
        """Return the path of each regular file, relative to the root, in order."""
        found = _listed_by_git(self.root)
        if found is None:
            self.warnings.append(
                "git is not installed, so files that it would ignore are searched, too."
            )
            found = list(_walk(self.root))
        if len(found) > MAX_FILES:
            raise StartupRefused(
                f"{self.root} has {len(found):,} files; at most {MAX_FILES:,} are searched. "
                "Name a folder inside of it."
            )
        return sorted(set(found))

    def read(self, path: str) -> bytes | None:
        """Return a file's content; None: it is no source (a link, large, binary, gone)."""
        full = self.root / path
        try:
            # A folder on the way may be a link that leads out of the tree.
            if any((self.root / parent).is_symlink() for parent in Path(path).parents):
                return None
            handle = os.open(full, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return None
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                return None
            if status.st_size > MAX_BYTES:
                self.large += 1
                return None
            content = file.read(MAX_BYTES + 1)
        if b"\0" in content[:BINARY_PROBE]:
            self.binary += 1
            return None
        return content


def git_output(root: Path, *arguments: str) -> str | None:
    """Return what a git command prints in a folder; None: git is missing or refuses."""
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program
            [*GIT, *arguments],
            cwd=root,
            # A hook that runs the scan sets variables that name another repository or index.
            env={name: value for name, value in os.environ.items() if name[:4] != "GIT_"},
            capture_output=True,
            timeout=GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "surrogateescape") if done.returncode == 0 else None


def _listed_by_git(root: Path) -> list[str] | None:
    listing = ("ls-files", "-z", "--others", "--exclude-standard")
    if git_output(root, "rev-parse", "--is-inside-work-tree") == "true\n":
        names = git_output(root, *listing, "--cached")
        # A folder that the repository around it ignores is a tree of its own.
        if names:
            return _names(names)
    with tempfile.TemporaryDirectory(prefix="tidegate-") as folder:
        if git_output(Path(folder), "init", "--quiet", "--bare", folder) is None:
            return None
        place = (f"--git-dir={folder}", f"--work-tree={root.resolve()}")
        names = git_output(root, *place, *listing)
    return None if names is None else _names(names)


def _names(text: str) -> list[str]:
    return [name for name in text.split("\0") if name and not name.endswith("/")]


def _walk(root: Path) -> Iterator[str]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(set(folders) - NEVER_SOURCE)
        for name in names:
            yield (Path(folder) / name).relative_to(root).as_posix()
