"""Node.js, and npm packages installed once per folder."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

import pytest

OLDEST_VERSION = 20
INSTALL_SECONDS = 300


def node() -> str:
    """Return the path of Node.js; skip the test if it is missing or too old."""
    path = shutil.which("node")
    if path is None or shutil.which("npm") is None:
        pytest.skip(f"no node: install Node.js {OLDEST_VERSION} or later with npm")
    version = subprocess.run([path, "--version"], check=True, capture_output=True, text=True)
    if int(version.stdout.strip().removeprefix("v").partition(".")[0]) < OLDEST_VERSION:
        pytest.skip(f"node is {version.stdout.strip()}: install version {OLDEST_VERSION} or later")
    return path


def install(folder: Path) -> Path:
    """Install the packages of a folder's ``package.json`` once, and return their folder."""
    package = (folder / "package.json").read_text()
    modules = folder / "node_modules"
    stamp = modules / "installed.json"
    modules.mkdir(exist_ok=True)
    with (modules / "lock").open("w") as lock:
        # Several test processes may install at once.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == package:
            return modules
        result = subprocess.run(
            ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
        )
        assert result.returncode == 0, result.stderr
        stamp.write_text(package)
    return modules
