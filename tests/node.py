"""Node, and what tests install for it: once for each folder."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

import pytest

OLDEST = 20
INSTALL_SECONDS = 300


def node() -> str:
    """The program; the test is skipped where there is none that is new enough."""
    found = shutil.which("node")
    if found is None or shutil.which("npm") is None:
        pytest.skip(f"no node: install Node.js {OLDEST} or later with npm")
    version = subprocess.run([found, "--version"], check=True, capture_output=True, text=True)
    if int(version.stdout.strip().removeprefix("v").partition(".")[0]) < OLDEST:
        pytest.skip(f"node is {version.stdout.strip()}: version {OLDEST} or later is needed")
    return found


def install(folder: Path) -> Path:
    """Install what a folder's ``package.json`` names, unless that was done before.

    Returns:
        Where it is.
    """
    asked = (folder / "package.json").read_text()
    modules = folder / "node_modules"
    stamp = modules / "installed.json"
    modules.mkdir(exist_ok=True)
    with (modules / "lock").open("w") as lock:
        # Several test processes may come here at once.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == asked:
            return modules
        done = subprocess.run(
            ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
        )
        assert done.returncode == 0, done.stderr
        stamp.write_text(asked)
    return modules
