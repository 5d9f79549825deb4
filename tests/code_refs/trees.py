"""Source trees for tests."""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Mapping
from pathlib import Path

from tidegate_server.code_refs.scan import Scan
from tidegate_server.code_refs.settings import ScanSettings
from tidegate_server.code_refs.source_files import SourceTree
from tidegate_server.code_refs.uses import ScanResult


def write(root: Path, files: Mapping[str, str]) -> Path:
    """Write files below a folder."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def git(root: Path, *arguments: str) -> str:
    """Run git in a folder, and return what it prints."""
    names = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org")
    done = subprocess.run(
        ["git", *names, *arguments], cwd=root, check=True, capture_output=True, text=True
    )
    return done.stdout


def scan(
    root: Path,
    keys: Collection[str] = (),
    settings: ScanSettings | None = None,
    context_lines: int | None = 0,
) -> ScanResult:
    """Scan a folder."""
    return Scan(SourceTree(root), keys, settings, context_lines).run()


def found(result: ScanResult) -> list[tuple[str, int, str, str]]:
    """Return path, line, key and kind of each use."""
    return [(use.path, use.line, use.flag, use.kind.value) for use in result.uses]
