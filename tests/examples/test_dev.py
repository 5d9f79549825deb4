"""`scripts/dev` restarts what a change affects, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.shop.dev import affected
from examples.shop.processes import free_port
from tests.end_to_end.deployment import descendants
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("file", "restarted"),
    [
        ("server/tidegate_server/errors.py", ["server"]),
        ("client_sdk/tidegate/client.py", ["server", "shop"]),
        ("examples/shop/app.py", ["shop", "visitors"]),
        ("docs/index.md", []),
    ],
)
def test_a_change_restarts_the_processes_that_use_the_file(file: str, restarted: list[str]) -> None:
    assert affected([ROOT / file]) == restarted


def test_a_file_outside_of_the_repository_restarts_nothing(tmp_path: Path) -> None:
    assert affected([tmp_path / "server" / "x.py"]) == []


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="tg-dev-"))  # short, for the path of the store's socket
    yield made
    shutil.rmtree(made, ignore_errors=True)


def test_an_edit_restarts_the_server_with_its_data_and_a_signal_ends_everything(
    folder: Path,
) -> None:
    output = folder / "output.txt"
    command = [sys.executable, "-u", "-m", "examples.shop.dev"]
    options = ["--port", str(free_port()), "--shop-port", str(free_port()), "--data-dir"]
    with output.open("wb") as file:
        development = subprocess.Popen(
            [*command, *options, str(folder)], cwd=ROOT, stdout=file, stderr=subprocess.STDOUT
        )
    try:
        until(lambda: "Edit the code" in output.read_text(), "everything to start", 120)
        first = {pid for pid, line in descendants(development.pid) if "serve" in line}
        os.utime(ROOT / "server" / "tidegate_server" / "errors.py")
        until(lambda: output.read_text().count("server is running") == 2, "a restart", 120)
        second = {pid for pid, line in descendants(development.pid) if "serve" in line}
        assert second
        assert second.isdisjoint(first)
        assert "errors.py changed: restarting server" in output.read_text()
        children = [pid for pid, _ in descendants(development.pid)]
        development.send_signal(signal.SIGTERM)
        assert development.wait(120) == 0
        listed = subprocess.run(
            ["ps", "-A", "-o", "pid="], check=True, capture_output=True, text=True
        )
        assert not {str(pid) for pid in children} & set(listed.stdout.split())
    finally:
        if development.poll() is None:
            development.send_signal(signal.SIGTERM)
            development.wait(120)
