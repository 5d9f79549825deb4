"""Settings for every test."""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings
from tidegate_server.web import password_hashes

TESTS = Path(__file__).parent

# A slow machine must not make a property fail.
settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("untimed")


PURE = ("domain", "decisions", "ledger", "whatif", "documents")
SLOW = ("end_to_end", "dashboard", "web", "faults", "sdk", "cli", "ofrep_clients", "processes")
"""Folders, by how long their files take, the longest first."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Do not look for garbage among modules and tests, which stay: that takes half of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run pure tests first, which fail at once, then slow files: short ones at the end let all
    workers end together. A folder's files stay together: they share a server or a browser."""
    order = {name: place for place, name in enumerate((*PURE, *SLOW))}
    items.sort(key=lambda item: order.get(item.path.relative_to(TESTS).parts[0], len(order)))


@pytest.fixture(scope="module", autouse=True)
def cheap_passwords() -> Iterator[None]:
    """Hash passwords at the least cost; ``tests/web/test_password_hashes.py`` pays the real one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(password_hashes, "TIME_COST", 1)
        patch.setattr(password_hashes, "MEMORY_KIB", 8)
        yield


@pytest.fixture(autouse=True)
def default_logging() -> Iterator[None]:
    """Refuse a test that sets up this process's logging: later tests would not find their lines."""
    yield
    factory = structlog.get_config()["logger_factory"]
    structlog.reset_defaults()
    assert isinstance(factory, structlog.PrintLoggerFactory), (
        "this test set up logging; run what it tests in a process of its own"
    )
