"""Patches in the unified format that `git apply` takes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

CONTEXT_LINES = 3
NO_NEWLINE = b"\n\\ No newline at end of file\n"

_QUOTED = re.compile(r'[\x00-\x1f"\\\x7f]')


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file before and after, as bytes, with the path relative to the tree."""

    path: str
    before: bytes
    after: bytes


def has_plain_name(path: str) -> bool:
    """Return whether a patch can name a file without quoting."""
    return _QUOTED.search(path) is None


def unified_patch(changes: Iterable[FileChange]) -> bytes:
    """Return one patch of all files; their paths are relative to the folder to apply it in."""
    return b"".join(map(_file_patch, changes))


def _file_patch(change: FileChange) -> bytes:
    # A name with a space ends at a tab.
    path = change.path.encode("utf-8", "surrogateescape")
    end = b"\t" if b" " in path else b""
    lines = difflib.diff_bytes(
        difflib.unified_diff,
        _lines(change.before),
        _lines(change.after),
        b"a/" + path + end,
        b"b/" + path + end,
        n=CONTEXT_LINES,
        lineterm=b"\n",
    )
    return b"".join(line if line.endswith(b"\n") else line + NO_NEWLINE for line in lines)


def _lines(content: bytes) -> list[bytes]:
    """Return lines as git counts them; ``splitlines`` would also end them at a form feed."""
    *lines, last = content.split(b"\n")
    return [line + b"\n" for line in lines] + ([last] if last else [])
