"""One real server for all tests of the protocol's clients."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ofrep_clients.server import Server, Shop


@pytest.fixture(scope="package")
def server() -> Iterator[Server]:
    yield from _server()


@pytest.fixture
def own_server() -> Iterator[Server]:
    """Return a server that the test may stop."""
    yield from _server()


def _server() -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="tg-ofrep-"))
    server = Server(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def shop(server: Server) -> Shop:
    """Return a project with a flag of every type, all available to clients."""
    return server.shop()
