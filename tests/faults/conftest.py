"""A store for each test, which it may damage."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tidegate_server.store import Store
from tidegate_server.store.embedded import EmbeddedValkey

from tests.cli.conftest import server

__all__ = ["folder", "server", "store", "valkey"]


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tg-fault-") as made:
        yield Path(made)


@pytest.fixture
def valkey(folder: Path) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(folder / "data")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def store(valkey: EmbeddedValkey) -> Iterator[Store]:
    opened = Store.connect(valkey.url)
    yield opened
    opened.close()
