"""A store that says nothing for a while: stopped by SIGSTOP, as a disk or a host may do."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tidegate_server.errors import StaleRevision, StoreUnavailable
from tidegate_server.store import Store, connection
from tidegate_server.store.embedded import EmbeddedValkey

from tests.policy_job.deployment import Deployment
from tests.store.changes import SHOP, change, place, put
from tests.waiting import until


@pytest.fixture
def hasty(valkey: EmbeddedValkey, store: Store) -> Iterator[Store]:
    """A store with less patience than usual, which has talked to the server before."""
    opened = Store(valkey.url, connection.open_client(valkey.url, 0.3), on_disk=True)
    opened.commit(change(put()))
    yield opened
    opened.close()


@contextmanager
def paused(valkey: EmbeddedValkey) -> Iterator[None]:
    assert valkey.pid is not None
    os.kill(valkey.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(valkey.pid, signal.SIGCONT)


def test_everything_ends_in_its_time_with_the_reason(hasty: Store, valkey: EmbeddedValkey) -> None:
    with paused(valkey):
        for ask in (
            hasty.ping,
            hasty.now_ms,
            lambda: hasty.get(SHOP, place()),
            lambda: hasty.leases.acquire(SHOP, "job-1", 1_000),
            lambda: hasty.commit(change(put(expected=1))),
        ):
            with pytest.raises(StoreUnavailable) as unavailable:
                ask()
            assert "did not answer in time" in unavailable.value.message


def test_afterwards_it_goes_on_and_no_answer_is_taken_for_another(
    hasty: Store, valkey: EmbeddedValkey
) -> None:
    with paused(valkey):
        for name in ("sent", "never sent"):
            with pytest.raises(StoreUnavailable):
                hasty.commit(change(put(name)))
    # The one that was on its way is done; for the other there was no connection any more.
    until(lambda: hasty.get(SHOP, place("sent")) is not None, "what was sent before the pause")
    assert hasty.get(SHOP, place("never sent")) is None
    assert hasty.get_value("nothing") is None
    found = hasty.get(SHOP, place())
    assert found is not None
    assert found.revision == 1
    assert hasty.commit(change(put(expected=1))).revisions == {place(): 2}


def test_a_commit_without_an_answer_is_not_made_twice_by_asking_again(
    hasty: Store, valkey: EmbeddedValkey
) -> None:
    again = change(put(expected=1, name="again"))
    with paused(valkey), pytest.raises(StoreUnavailable):
        hasty.commit(again)
    with pytest.raises(StaleRevision):
        until(lambda: bool(hasty.commit(again)))
    found = hasty.get(SHOP, place())
    assert found is not None
    assert (found.revision, found.document.name) == (2, "again")


def test_a_lease_may_lapse_in_a_pause_and_its_holder_learns_it(
    store: Store, valkey: EmbeddedValkey
) -> None:
    Deployment(store)
    fence = store.leases.acquire("shop", "sleeper", 50)
    assert fence is not None
    with paused(valkey), pytest.raises(StoreUnavailable):
        Store(valkey.url, connection.open_client(valkey.url, 0.2), on_disk=True).ping()
    until(lambda: store.leases.acquire("shop", "awake", 60_000) is not None, "the lapse")
    assert store.leases.acquire("shop", "sleeper", 50) is None
