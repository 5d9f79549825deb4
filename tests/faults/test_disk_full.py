"""A disk without room: made by a limit on the size of files, which a write meets likewise."""

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
    """The file that says how much room there is from the next start on, in blocks."""
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
    """All of this many commits is there, and nothing of another."""
    found = store.get(SHOP, place())
    entries, _ = store.logs.audit(SHOP, limit=500)
    changes = store.changes(SHOP, PRODUCTION, 0)
    assert found is not None
    assert found.revision == commits
    assert [int(entry.target) for entry in entries] == list(range(commits, 0, -1))
    assert [version for version, _ in changes or ()] == list(range(1, commits + 1))
    assert store.version(SHOP, PRODUCTION) == store.snapshot(SHOP, PRODUCTION).version == commits


def fill(store: Store) -> int:
    """Commit until there is no room; return how many were acknowledged."""
    number = 0
    while True:
        try:
            commit(store, number + 1)
        except StoreUnavailable:
            return number
        number += 1
        assert number < 500, "there is no limit"


def test_commits_are_refused_whole_and_go_on_when_there_is_room(
    valkey: EmbeddedValkey, room: Path
) -> None:
    store = Store.connect(valkey.url)
    done = fill(store)
    assert done > 3
    # It would rather end than show what is not on its disk.
    until(lambda: not valkey.alive(), "its end")
    assert "AOF" in valkey.exit_reason()

    for _ in range(3):
        # Still no room: what there is can be read, and nothing more is taken.
        valkey.restart_if_dead()
        assert_whole(store, done)
        with pytest.raises(StoreUnavailable) as refused:
            commit(store, done + 1)
        assert "The store cannot be used now" in refused.value.message
        until(lambda: not valkey.alive(), "its end")

    room.write_text("unlimited")
    valkey.restart_if_dead()
    assert_whole(store, done)
    commit(store, done + 1)
    commit(store, done + 2)
    assert_whole(store, done + 2)
    store.close()
