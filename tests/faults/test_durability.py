"""Nothing that a server acknowledged is lost when its store, its processes or all of it is killed.

A failing run names its seed, which decides what is killed.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.shop.processes import free_port
from tests.faults.durability import KilledServer, drive, problems
from tests.topologies import Node

CHANGERS = 3
IN_MEMORY = ("appendonly no", 'save ""')


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tg-kill-", ignore_cleanup_errors=True) as made:
        yield Path(made)


def run(folder: Path, rounds: int) -> tuple[list[str], str]:
    """Run the driver; return what the checker found, and what was killed."""
    seed = random.randrange(10**6)
    return outcome(KilledServer(folder, None, seed), rounds, f"seed {seed}")


def outcome(server: KilledServer, rounds: int, what: str) -> tuple[list[str], str]:
    try:
        changers = drive(server, rounds, CHANGERS)
        found = problems(server.store_url, changers)
    finally:
        server.stop()
    acknowledged = sum(len(each.acknowledged) for each in changers)
    return found, f"{what}: {server.kills}, {acknowledged} changes acknowledged"


def test_nothing_acknowledged_is_lost_in_a_few_kills(folder: Path) -> None:
    found, what = run(folder, 3)
    assert found == [], what


@pytest.mark.long
def test_nothing_acknowledged_is_lost_in_200_kills(folder: Path) -> None:
    found, what = run(folder, 200)
    assert found == [], what


def test_the_checker_finds_what_a_store_without_persistence_loses(folder: Path) -> None:
    (folder / "store").mkdir()
    node = Node(folder / "store", IN_MEMORY, free_port())
    try:
        server = KilledServer(folder, node, 0, kinds=("store",))
        found, what = outcome(server, 1, "without persistence")
    finally:
        node.kill()
    assert any("the audit log lacks" in each for each in found), what
