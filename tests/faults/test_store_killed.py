"""``kill -9`` of the store in the middle of a stream of commits."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import dataclass, field

from tidegate_server.domain.change import Audit
from tidegate_server.errors import StaleRevision, StoreUnavailable
from tidegate_server.store import Store
from tidegate_server.store.embedded import EmbeddedValkey

from tests.store.changes import PRODUCTION, SHOP, change, place, put, refreshed
from tests.waiting import until

KILLS = 4
WRITERS = 3


@dataclass
class Writer:
    """Writes its own document repeatedly and records the acknowledged writes."""

    url: str
    name: str
    stop: threading.Event
    acknowledged: list[int] = field(default_factory=list)
    unanswered: set[int] = field(default_factory=set)

    def run(self) -> None:
        store = Store.connect(self.url)
        number = 0
        while not self.stop.is_set():
            number += 1
            try:
                self.write(store, number)
            except StoreUnavailable:
                self.unanswered.add(number)
            else:
                self.acknowledged.append(number)
        store.close()

    def write(self, store: Store, number: int) -> None:
        found = store.get(SHOP, place(self.name))
        document = put(self.name, found.revision if found else 0, str(number))
        refresh = refreshed(self.name).refreshes
        entry = Audit(self.name, "number.write", str(number))
        try:
            store.commit(change(document, refreshes=refresh, audit=entry))
        except StaleRevision:
            raise AssertionError("no other writer has this document") from None


def test_no_acknowledged_commit_is_lost_and_none_is_incomplete(
    valkey: EmbeddedValkey,
) -> None:
    stop = threading.Event()
    writers = [Writer(valkey.url, f"writer-{number}", stop) for number in range(WRITERS)]
    threads = [threading.Thread(target=writer.run) for writer in writers]
    for thread in threads:
        thread.start()
    try:
        for _ in range(KILLS):
            seen = [len(writer.acknowledged) for writer in writers]
            until(
                lambda seen=seen: all(  # type: ignore[misc]
                    len(writer.acknowledged) > before + 5
                    for writer, before in zip(writers, seen, strict=True)
                ),
                "commits",
            )
            assert valkey.pid is not None
            os.kill(valkey.pid, signal.SIGKILL)
            until(lambda: not valkey.alive())
            valkey.restart_if_dead()
    finally:
        stop.set()
        for thread in threads:
            thread.join()

    store = Store.connect(valkey.url)
    entries, _ = store.logs.audit(SHOP, limit=10**6)
    audited: dict[str, list[int]] = {writer.name: [] for writer in writers}
    for entry in reversed(entries):
        audited[entry.actor].append(int(entry.target))
    for writer in writers:
        done = audited[writer.name]
        assert set(writer.acknowledged) <= set(done)
        assert set(done) <= set(writer.acknowledged) | writer.unanswered
        assert done == sorted(set(done))  # in order, and none twice
        document = store.get(SHOP, place(writer.name))
        assert document is not None
        assert (document.document.name, document.revision) == (str(done[-1]), len(done))
    commits = sum(map(len, audited.values()))
    assert store.version(SHOP, PRODUCTION) == commits
    changes = store.changes(SHOP, PRODUCTION, max(0, commits - 1_000))
    assert changes is not None
    assert changes[-1][0] == commits
    store.close()
