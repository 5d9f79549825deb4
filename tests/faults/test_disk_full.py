"""A full disk, simulated by a limit on the size of files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tidegate_server.domain.change import Audit
from tidegate_server.errors import StoreUnavailable
from tidegate_server.store import Store
from tidegate_server.store.embedded import EmbeddedValkey, find_server

from tests.store.changes import PRODUCTION, SHOP, change, place, put, refreshed
from tests.waiting import until

LIMITED = """#!/bin/sh
trap '' XFSZ
ulimit -f $(cat {room})
exec {server} "$@"
"""


@pytest.fixture
def room(folder: Path) -> Path:
    """The file with the size limit from the next start on, in blocks."""
    path = folder / "room"
    path.write_text("48")
    return path


@pytest.fixture
def valkey(folder: Path, room: Path) -> Iterator[EmbeddedValkey]:
    program = folder / "limited"
    program.write_text(LIMITED.format(room=room, server=find_server()))
    program.chmod(0o755)
    server = EmbeddedValkey(folder / "data", str(program))
    server.start()
    yield server
    server.stop()


def commit(store: Store, number: int) -> None:
    document = put(expected=number - 1, name=f"{number}" * 50)
    more = refreshed("checkout").refreshes
    store.commit(change(document, refreshes=more, audit=Audit("dana", "number.write", f"{number}")))


def assert_whole(store: Store, commits: int) -> None:
    """Check that the store has exactly this many commits, each complete."""
    found = store.get(SHOP, place())
    entries, _ = store.logs.audit(SHOP, limit=500)
    changes = store.changes(SHOP, PRODUCTION, 0)
    assert found is not None
    assert found.revision == commits
    assert [int(entry.target) for entry in entries] == list(range(commits, 0, -1))
    assert [version for version, _ in changes or ()] == list(range(1, commits + 1))
    assert store.version(SHOP, PRODUCTION) == store.snapshot(SHOP, PRODUCTION).version == commits


def fill(store: Store) -> int:
    """Commit until the disk is full; return how many commits were acknowledged."""
    number = 0
    while True:
        try:
            commit(store, number + 1)
        except StoreUnavailable:
            return number
        number += 1
        assert number < 500, "there is no limit"


def test_commits_are_refused_on_a_full_disk_and_continue_when_there_is_space(
    valkey: EmbeddedValkey, room: Path
) -> None:
    store = Store.connect(valkey.url)
    done = fill(store)
    assert done > 3
    # The server ends, so that it never shows data that is not on its disk.
    until(lambda: not valkey.alive(), "ended")
    assert "AOF" in valkey.exit_reason()

    for _ in range(3):
        # The disk is still full: reads work, and writes are refused.
        valkey.restart_if_dead()
        assert_whole(store, done)
        with pytest.raises(StoreUnavailable) as refused:
            commit(store, done + 1)
        assert "The store cannot be used now" in refused.value.message
        until(lambda: not valkey.alive(), "ended")

    room.write_text("unlimited")
    valkey.restart_if_dead()
    assert_whole(store, done)
    commit(store, done + 1)
    commit(store, done + 2)
    assert_whole(store, done + 2)
    store.close()
