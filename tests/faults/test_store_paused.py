"""A store that does not answer for a while: SIGSTOP stops it, like a slow disk or host."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis
import urllib3
from tidegate_server.errors import StaleRevision, StoreUnavailable
from tidegate_server.store import Store, connection
from tidegate_server.store import store as store_module
from tidegate_server.store.embedded import EmbeddedValkey

from tests.cli.conftest import RunningServer
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


PAUSE_MS = int(connection.ANSWER_SECONDS * 1_000) + 1_500
"""Longer than other requests wait for the store."""


def test_an_import_that_the_store_makes_late_is_answered_as_made(server: RunningServer) -> None:
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
    body = json.dumps({"flags": [{"key": "late", "type": "boolean"}]})
    at = f"{server.url}/api/v1/projects/default"
    with redis.Redis(unix_socket_path=str(EmbeddedValkey(server.data_dir).socket)) as client:
        # Commits wait; what the import reads before does not.
        client.client_pause(PAUSE_MS, all=False)
        made = urllib3.request(
            "POST", f"{at}/apply", body=body, headers=headers, retries=False, timeout=60.0
        )
    assert (made.status, "late" in made.data.decode()) == (200, True), made.data
    # A process that had no answer in time asks the store again a moment later.
    until(
        lambda: (
            urllib3.request("GET", f"{at}/flags/late", headers=headers, retries=False).status == 200
        ),
        "the flag is there",
    )


def test_a_patient_store_waits_for_a_commit_through_a_pause(
    store: Store, valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "ANSWER_SECONDS", 0.2)
    usual, patient = Store.connect(valkey.url), Store.connect(valkey.url, patience=100)
    for each in (usual, patient):
        each.ping()
    assert valkey.pid is not None
    os.kill(valkey.pid, signal.SIGSTOP)
    go_on = threading.Timer(0.6, os.kill, (valkey.pid, signal.SIGCONT))
    go_on.start()
    try:
        with pytest.raises(StoreUnavailable):
            usual.commit(change(put("usual")))
        assert patient.commit(change(put("patient"))).revisions == {place("patient"): 1}
    finally:
        go_on.join()
        for each in (usual, patient):
            each.close()


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
