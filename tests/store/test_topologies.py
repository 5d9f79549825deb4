"""A store of several servers: users, where projects are, and what is confirmed."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tidegate_server.errors import StoreUnavailable
from tidegate_server.store import Store

from tests.store.changes import PRODUCTION, SHOP, audit, change, place, put, refreshed
from tests.stores import TOPOLOGIES
from tests.topologies import (
    Certificate,
    ClusterTopology,
    RunningTopology,
    SentinelTopology,
    count_contexts,
)
from tests.waiting import PATIENCE_SECONDS, until

pytestmark = pytest.mark.topologies

USER = (
    *("on", ">hush/hush", "resetkeys", "~tg:*", "resetchannels", "+@read", "+@write"),
    *("+@scripting", "+@connection", "+@transaction", "+info", "+time", "+wait", "+waitaof"),
    *("+cluster|slots", "+command"),
)
"""The rules of docs/operations/production.md."""


@pytest.fixture(scope="module", params=TOPOLOGIES)
def topology(request: pytest.FixtureRequest) -> Iterator[RunningTopology]:
    with TOPOLOGIES[request.param]() as running:
        yield running


def test_a_user_with_the_documented_permissions_can_do_everything(
    topology: RunningTopology,
) -> None:
    for node in topology.nodes:
        node.run("ACL", "SETUSER", "flags", *USER)
    store = Store.connect(topology.url.replace("://", "://flags:hush%2Fhush@"))
    subscription = store.change_feed.subscribe(SHOP, PRODUCTION)
    store.commit(change(put("user"), refreshes=refreshed("checkout").refreshes, audit=audit()))
    assert subscription.get(PATIENCE_SECONDS)
    assert store.get(SHOP, place("user")) is not None
    assert store.get_many(SHOP, [place("user"), place("none")])[1] is None
    assert SHOP in store.scopes()
    assert store.dump_scope(SHOP)
    assert store.leases.acquire(SHOP, "job", 1_000) is not None
    assert store.instances.all(SHOP, PRODUCTION) == []
    assert store.now_ms() > 0
    store.close()
    with pytest.raises(
        StoreUnavailable, match="does not accept the user or the password"
    ) as refused:
        Store.connect(topology.url.replace("://", "://flags:wrong@"))
    assert "flags" not in refused.value.message


def test_connections_share_what_they_read_of_the_machine(
    topology: RunningTopology, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = count_contexts(monkeypatch)
    Store.connect(topology.url).close()
    assert len(made) <= 1


def test_a_store_whose_certificate_is_of_another_authority_is_refused(
    topology: RunningTopology, tmp_path: Path
) -> None:
    if "tls" not in topology.url:
        pytest.skip("of stores with TLS")
    trusted = re.sub(r"ca=[^&]*", f"ca={Certificate(tmp_path).path}", topology.url)
    with pytest.raises(StoreUnavailable, match="certificate is not accepted: self-signed"):
        Store.connect(trusted)


def test_a_service_that_sentinels_do_not_know_is_named_as_the_reason(
    topology: RunningTopology,
) -> None:
    if not isinstance(topology, SentinelTopology):
        pytest.skip("of Sentinels")
    with pytest.raises(StoreUnavailable, match="the Sentinels name no primary of this service"):
        Store.connect(topology.url.replace("/tidegate", "/tidegatte"))


def test_sentinels_may_have_users_of_their_own(topology: RunningTopology) -> None:
    if not isinstance(topology, SentinelTopology):
        pytest.skip("of Sentinels")
    topology.add_sentinel_user("watch", "hush")
    mark = "&" if "?" in topology.url else "?"
    url = f"{topology.url}{mark}sentinel_user=watch&sentinel_password="
    store = Store.connect(f"{url}hush")
    assert store.now_ms() > 0
    store.close()
    with pytest.raises(StoreUnavailable, match="does not accept the user or the password"):
        Store.connect(f"{url}wrong")


def test_what_no_replica_confirms_is_not_acknowledged(topology: RunningTopology) -> None:
    store = Store.connect(topology.url)
    store.commit(change(put("confirmed"), audit=audit()))
    primary = topology.primary_of(SHOP)
    stopped = [node for node in topology.nodes if not node.is_primary]
    for node in stopped:
        node.signal(signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable, match="not confirmed in time by a replica"):
            store.commit(change(put("unconfirmed"), audit=audit()))
        assert primary.is_primary
    finally:
        for node in stopped:
            node.signal(signal.SIGCONT)
    until(lambda: confirms(store), "a replica")
    store.close()


def confirms(store: Store) -> bool:
    found = store.get(SHOP, place("again"))
    try:
        store.commit(change(put("again", found.revision if found else 0), audit=audit()))
    except StoreUnavailable:
        return False
    return True


def test_projects_are_spread_over_the_nodes_of_a_cluster(topology: RunningTopology) -> None:
    if not isinstance(topology, ClusterTopology):
        pytest.skip("of a Cluster")
    store = Store.connect(topology.url)
    projects = [f"project-{number}" for number in range(12)]
    feeds = [store.change_feed.subscribe(project, PRODUCTION) for project in projects]
    changes = [
        change(put(), scope=project, refreshes=refreshed("a").refreshes) for project in projects
    ]
    assert len(store.commit_many(changes)) == 12
    assert len({topology.primary_of(project).port for project in projects}) == 3
    for project, feed in zip(projects, feeds, strict=True):
        update = feed.get(PATIENCE_SECONDS)
        assert update is not None
        assert update.data is not None
        assert store.version(project, PRODUCTION) == 1
    assert set(projects) <= store.scopes()
    for feed in feeds:
        feed.close()
    store.close()
