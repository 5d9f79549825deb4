"""A store that does not answer for a while: SIGSTOP stops it, like a slow disk or host."""

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
def impatient(valkey: EmbeddedValkey, store: Store) -> Iterator[Store]:
    """A store with a short timeout and an open connection."""
    opened = Store(valkey.url, connection.open_connection(valkey.url, 0.3), on_disk=True)
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


def answers(store: Store) -> bool:
    """Return whether the store answers this process again."""
    try:
        store.ping()
    except StoreUnavailable:
        return False
    return True


def test_every_call_ends_at_its_timeout_with_the_reason(
    impatient: Store, valkey: EmbeddedValkey
) -> None:
    with paused(valkey):
        for call in (
            impatient.ping,
            impatient.now_ms,
            lambda: impatient.get(SHOP, place()),
            lambda: impatient.leases.acquire(SHOP, "job-1", 1_000),
            lambda: impatient.commit(change(put(expected=1))),
        ):
            with pytest.raises(StoreUnavailable) as unavailable:
                call()
            assert "did not answer in time" in unavailable.value.message


def test_after_the_pause_every_reply_belongs_to_its_own_command(
    impatient: Store, valkey: EmbeddedValkey
) -> None:
    with paused(valkey):
        for name in ("sent", "never sent"):
            with pytest.raises(StoreUnavailable):
                impatient.commit(change(put(name)))
    # The first commit was sent before the timeout; the second found no connection.
    until(lambda: answers(impatient), "the store answers")
    until(lambda: impatient.get(SHOP, place("sent")) is not None, "the first commit")
    assert impatient.get(SHOP, place("never sent")) is None
    assert impatient.get_server_value("nothing") is None
    found = impatient.get(SHOP, place())
    assert found is not None
    assert found.revision == 1
    assert impatient.commit(change(put(expected=1))).revisions == {place(): 2}


def test_a_commit_without_a_reply_is_not_made_twice_by_repeating_it(
    impatient: Store, valkey: EmbeddedValkey
) -> None:
    again = change(put(expected=1, name="again"))
    with paused(valkey), pytest.raises(StoreUnavailable):
        impatient.commit(again)
    until(lambda: answers(impatient), "the store answers")
    with pytest.raises(StaleRevision):
        impatient.commit(again)
    found = impatient.get(SHOP, place())
    assert found is not None
    assert (found.revision, found.document.name) == (2, "again")


def test_a_lease_that_expired_in_a_pause_is_not_extended(
    store: Store, valkey: EmbeddedValkey
) -> None:
    Deployment(store)
    fence = store.leases.acquire("shop", "sleeper", 50)
    assert fence is not None
    with paused(valkey), pytest.raises(StoreUnavailable):
        Store(valkey.url, connection.open_connection(valkey.url, 0.2), on_disk=True).ping()
    until(lambda: store.leases.acquire("shop", "awake", 60_000) is not None, "expired")
    assert store.leases.acquire("shop", "sleeper", 50) is None
