"""No file of the repository depends on the machine where it was written."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Each pattern is split, so that it does not match this file.
FORBIDDEN = {
    "a package registry's host": r"py" r"pi\.org|python" r"hosted\.org|npm" r"js\.(org|com)",
    "a package index": r"(extra-)?index" r"-url|find" r"-links|trusted" r"-host",
    "a home folder": r"(?<![\w.])/(root|home/\w+|Users/\w+)/",
}


def tracked_files() -> list[Path]:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    result = subprocess.run(
        [git, "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return [ROOT / name for name in result.stdout.split("\0") if name]


@pytest.mark.parametrize("name", FORBIDDEN)
def test_no_file_contains(name: str) -> None:
    pattern = re.compile(FORBIDDEN[name])
    matches = []
    for path in tracked_files():
        try:
            text = path.read_text()
        except (FileNotFoundError, UnicodeDecodeError):
            continue  # deleted in the working tree, or not text
        matches += [
            f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
            for number, line in enumerate(text.splitlines(), 1)
            if pattern.search(line)
        ]
    assert matches == []


def test_every_script_is_executable() -> None:
    scripts = [path for path in tracked_files() if path.read_bytes().startswith(b"#!")]
    assert scripts
    assert [path for path in scripts if not path.stat().st_mode & 0o111] == []


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_link_between_documents_has_a_target() -> None:
    broken = []
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        links = re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text())
        for target, anchor in links:
            if "://" in target or target.startswith("mailto:"):
                continue
            found = page.parent / target if target else page
            if not found.exists() or (anchor and anchor not in anchors(found)):
                broken.append(f"{page.relative_to(ROOT)} -> {target}#{anchor}")
    assert broken == []


def test_the_page_about_the_architecture_names_every_room_and_module_of_the_server() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    page = page[page.index("## Rooms") : page.index("## How a flag is evaluated")]
    named = set(re.findall(r"`(\w+(?:\.py)?)`", page))
    parts = {
        path.name
        for path in (ROOT / "server" / "tidegate_server").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert parts - named == {"__init__.py"}


def test_the_changelog_has_no_mends_of_what_was_never_released() -> None:
    _, unreleased, *released = re.split(
        r"^## ", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE
    )
    sections = re.findall(r"^### (.*)$", unreleased, re.MULTILINE)
    assert released or sections == ["Added", "Changed", "Security"], (
        "correct the entry that describes what was mended; only a release's mends have a section"
    )
