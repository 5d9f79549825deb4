"""A real browser, and pages served to it from another origin."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.node import install, node
from tests.ofrep_clients.node import FOLDER
from tests.waiting import PATIENCE_SECONDS

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS = PATIENCE_SECONDS * 1000
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
"""The first one that is installed is taken. The shell takes half of the CPU: it has no window."""


@contextmanager
def browser() -> Iterator[Browser]:
    """Start Chromium; skip the test if it is not installed."""
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium: install Debian's package chromium-headless-shell")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=program, headless=True, args=list(FLAGS)
        )
        expect.set_options(timeout=PATIENCE_MS)
        yield opened
        opened.close()


def bundle(script: Path, into: Path) -> None:
    """Bundle a script and its imports into one file."""
    node()
    modules = install(FOLDER)
    done = subprocess.run(
        [
            str(modules / ".bin" / "esbuild"),
            *(str(script), "--bundle", "--format=esm", f"--outfile={into}", "--log-level=error"),
        ],
        env={**os.environ, "NODE_PATH": str(modules)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


@contextmanager
def pages(folder: Path) -> Iterator[str]:
    """Serve a folder, and yield its origin."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_QuietHandler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
