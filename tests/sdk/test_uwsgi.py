"""Detecting uWSGI; ``test_preforking_servers.py`` tests with a real server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import uwsgi, tidegate
print(tidegate.Client("http://127.0.0.1:9", "a-token").status().state)
"""


@pytest.mark.parametrize("name", ["uwsgi/settings.ini", "uwsgi.py", "uwsgi/__init__.py"])
def test_a_folder_or_module_named_uwsgi_is_not_the_server(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.touch()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "starting\n"
    assert "Traceback" not in done.stderr
