"""One real server for all tests of the remote evaluation protocol."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ofrep_clients.server import Server, Shop


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    yield from _server()


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server that the test may stop."""
    yield from _server()


def _server() -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="tg-ofrep-"))
    made = Server(folder)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def shop(server: Server) -> Shop:
    """A project with a flag of every type, all available to clients."""
    return server.shop()
