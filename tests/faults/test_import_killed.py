"""``kill -9`` in the middle of imports, and two imports at once: all of one, or nothing."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tidegate_server.admin.bootstrap import bootstrap
from tidegate_server.admin.configuration.export import export
from tidegate_server.admin.configuration.importing import ImportRequest, apply, plan
from tidegate_server.domain.audit_chain import verify
from tidegate_server.domain.callers import Caller
from tidegate_server.domain.network_addresses import PUBLIC_ONLY
from tidegate_server.domain.permissions import Grant, Permission
from tidegate_server.errors import StaleRevision, TidegateError
from tidegate_server.store import Store
from tidegate_server.store.embedded import EmbeddedValkey
from tidegate_server.store.logs import Period

FLAGS = 200
SOME_KILLS = pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.long)])
ANN = Caller("ann", "ann", "ann", (Grant(frozenset(Permission)),), "ann")

IMPORTER = """
import sys
from tests.faults.test_import_killed import configuration, importing
from tidegate_server.store import Store
store = Store.connect(sys.argv[1])
print("ready", flush=True)
number = int(sys.argv[2])
while True:
    number += 1
    importing(store, configuration(f"state {number}"))
    print(number, flush=True)
"""


def configuration(owner: str, **more: Any) -> dict[str, Any]:
    """Return flags and segments that all have one owner or name."""
    return {
        "flags": [
            {"key": f"flag-{number}", "type": "boolean", "owner": owner} for number in range(FLAGS)
        ],
        "segments": [{"key": f"segment-{number}", "name": owner} for number in range(20)],
        **more,
    }


def importing(store: Store, wanted: dict[str, Any]) -> Any:
    request = ImportRequest("default", json.dumps(wanted), ANN, "", PUBLIC_ONLY, "")
    return json.loads(apply(store, request))


def planned(store: Store, wanted: dict[str, Any]) -> str:
    request = ImportRequest("default", json.dumps(wanted), ANN, "", PUBLIC_ONLY, "")
    return str(json.loads(plan(store, request))["plan"])


@pytest.fixture
def server() -> Iterator[EmbeddedValkey]:
    """A store of its own, after its first start."""
    with tempfile.TemporaryDirectory(prefix="tg-import-") as folder:
        own = EmbeddedValkey(Path(folder))
        own.start()
        try:
            store = Store.connect(own.url)
            bootstrap(store, b"a secret key for tests only", "an-admin-token-for-tests")
            importing(store, configuration("state 0"))
            store.close()
            yield own
        finally:
            own.stop()


def state(store: Store) -> str:
    """Return the one state that everything is in, also the snapshots and the audit log."""
    body = export(store, "default", None)
    owners = {each.get("owner") for each in body["flags"]}
    owners |= {each.get("name") for each in body["segments"]}
    assert len(owners) == 1, owners
    assert len(body["flags"]) == FLAGS
    snapshot = json.loads(store.snapshot("default", "production").body)
    versions = {each["version"] for each in snapshot["flags"].values()}
    assert (len(snapshot["flags"]), len(versions)) == (FLAGS, 1)
    log = store.logs.audit_chain("default")
    entries = list(store.logs.audit_between("default", Period()))
    assert verify((each.chained() for each in entries), log.head, log.anchor).problem == ""
    last = entries[-1]
    assert last.details["part"] == last.details["parts"]
    return str(owners.pop())


def importer(url: str, number: int) -> subprocess.Popen[str]:
    """Start a process that makes one import after another."""
    process = subprocess.Popen(
        [sys.executable, "-c", IMPORTER, url, str(number)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@SOME_KILLS
def test_a_process_that_is_killed_leaves_all_of_an_import_or_nothing(
    server: EmbeddedValkey, kills: int
) -> None:
    store = Store.connect(server.url)
    moments = random.Random(1)
    seen = 0
    for _ in range(kills):
        process = importer(server.url, seen)
        time.sleep(moments.uniform(0.1, 2.0))
        process.kill()
        said = process.communicate()[0].split()
        number = int(state(store).removeprefix("state "))
        assert number >= (int(said[-1]) if said else seen)
        seen = number
    assert seen > 0


@SOME_KILLS
def test_a_store_that_is_killed_keeps_all_of_an_import_or_nothing(
    server: EmbeddedValkey, kills: int
) -> None:
    moments = random.Random(2)
    seen = 0
    for _ in range(kills):
        process = importer(server.url, seen)
        time.sleep(moments.uniform(0.1, 2.0))
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        process.kill()
        said = process.communicate()[0].split()
        while server.alive():
            time.sleep(0.01)
        server.restart_if_dead()
        store = Store.connect(server.url)
        number = int(state(store).removeprefix("state "))
        # What was acknowledged is there.
        assert number >= (int(said[-1]) if said else seen)
        seen = number
        store.close()
    assert seen > 0


def test_of_two_imports_of_one_plan_at_once_one_is_made(server: EmbeddedValkey) -> None:
    stores = [Store.connect(server.url) for _ in range(2)]
    wanted = [configuration(f"state {number}") for number in (1, 2)]
    plans = [planned(store, each) for store, each in zip(stores, wanted, strict=True)]

    def make(number: int) -> str:
        try:
            importing(stores[number], {**wanted[number], "plan": plans[number]})
        except StaleRevision:
            return "refused"
        return f"state {number + 1}"

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(make, range(2)))
    assert sorted(outcomes)[0] == "refused", outcomes
    [made] = [each for each in outcomes if each != "refused"]
    assert state(stores[0]) == made


def test_two_imports_at_once_are_made_one_after_the_other(server: EmbeddedValkey) -> None:
    stores = [Store.connect(server.url) for _ in range(2)]

    def make(number: int) -> None:
        for turn in range(3):
            importing(stores[number], configuration(f"state {number} {turn}"))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(make, range(2)))
    assert state(stores[0]) in ("state 0 2", "state 1 2")


def test_a_store_without_memory_refuses_an_import_as_a_whole(server: EmbeddedValkey) -> None:
    import redis

    store = Store.connect(server.url)
    with redis.Redis(unix_socket_path=str(server.socket)) as client:
        client.config_set("maxmemory", 1)
        with pytest.raises(TidegateError):
            importing(store, configuration("state 1"))
        client.config_set("maxmemory", 0)
    assert state(store) == "state 0"
