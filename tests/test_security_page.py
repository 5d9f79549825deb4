"""The security page names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAME = re.compile(r"`(?:([a-z_]+/test_[a-z_]+\.py)|(test_[a-z_]+))`")


def test_every_test_on_the_security_page_exists() -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    file, checked = "", 0
    for path, function in NAME.findall(page):
        if path:
            file = path
            assert (ROOT / "tests" / file).is_file(), file
        else:
            assert f"def {function}(" in (ROOT / "tests" / file).read_text(), (file, function)
        checked += 1
    assert checked > 30
