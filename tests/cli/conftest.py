"""A real server for all tests of the command line, and a new project for each test."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from examples.shop.admin import Admin
from examples.shop.processes import Processes, free_port
from tests.cli.calls import PROGRAM, Tidegate

TOKEN = "tg_admin_tests_0123456789abcdefghijklmnop"


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A running `tidegate serve`."""

    url: str
    token: str
    data_dir: Path
    pid: int


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep tests from reading or changing the configuration of the machine."""
    for name in [name for name in os.environ if name.startswith("TIDEGATE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TIDEGATE_CONFIG", str(tmp_path / "contexts.json"))


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Handle SIGINT: background jobs of a shell ignore it, and so do their children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="package")
def server() -> Iterator[RunningServer]:
    folder = Path(
        tempfile.mkdtemp(prefix="tg-cli-")
    )  # short: the path of a Unix socket has a limit
    port, data_dir = free_port(), folder / "data"
    url = f"http://127.0.0.1:{port}"
    processes = Processes(folder)
    try:
        processes.start(
            "server",
            [PROGRAM, "serve", "--port", str(port), "--workers", "1"],
            {
                "TIDEGATE_DATA_DIR": str(data_dir),
                "TIDEGATE_BOOTSTRAP_TOKEN": TOKEN,
                "TIDEGATE_WEBHOOK_NETWORKS": "127.0.0.1/32",
                "TIDEGATE_IDENTITY_PROVIDER_NETWORKS": "127.0.0.1/32",
            },
        )
        processes.wait_for("the server is ready", Admin(url, TOKEN).ready)
        yield RunningServer(url, TOKEN, data_dir, processes.pid("server"))
    finally:
        processes.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def admin(server: RunningServer) -> Tidegate:
    """An admin of the server, in the project `default`."""
    return Tidegate({"TIDEGATE_URL": server.url, "TIDEGATE_TOKEN": server.token})


@pytest.fixture
def tidegate(admin: Tidegate) -> Tidegate:
    """The admin in a new project with the environment `production`."""
    project = f"p-{uuid4().hex[:10]}"
    admin.ok("project", "create", project)
    admin.ok("environment", "create", "production", "--project", project)
    return admin.with_variables(TIDEGATE_PROJECT=project)


@pytest.fixture
def checkout(tidegate: Tidegate, tmp_path: Path) -> Tidegate:
    """The admin in a new project with the boolean flag `checkout` and the policy `careful`."""
    tidegate.ok("flag", "create", "checkout")
    file = tmp_path / "careful.yaml"
    file.write_text(POLICY)
    tidegate.ok("policy", "put", str(file))
    return tidegate


@pytest.fixture
def colleague(checkout: Tidegate) -> Tidegate:
    """Another person, who may approve."""
    project = checkout.variables["TIDEGATE_PROJECT"]
    arguments = ("token", "create", "colleague", "--role", "release_manager", "--project", project)
    return checkout.with_variables(TIDEGATE_TOKEN=checkout.ok(*arguments).strip())


@pytest.fixture
def protected(checkout: Tidegate, colleague: Tidegate) -> Iterator[Tidegate]:
    """The admin in a project whose environment `production` is protected.

    It is open again afterwards: a protected environment also guards what counts for the whole
    server, such as tokens, and other tests use the same one.
    """
    edit = ("environment", "edit", "production", "--require-approvals")
    checkout.ok(*edit, "1")
    yield checkout
    id = checkout.json(*edit, "0", "--propose", "the test has ended")["id"]
    colleague.ok("change-request", "approve", id, "--yes")
    checkout.ok("change-request", "apply", id)


POLICY = """\
key: careful
interval: 1s
stages:
  - {name: few, percentage: 5, min_duration: 1h}
  - {name: half, percentage: 50, min_duration: 1h}
  - {name: everyone, percentage: 100}
bake: 1h
"""
