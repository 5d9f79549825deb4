"""A store with TLS: what is trusted, and what the error says of what is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tidegate_server.errors import StartupRefused, StoreUnavailable
from tidegate_server.store import Store

from tests.store.changes import PRODUCTION, SHOP, audit, change, place, put, refreshed
from tests.store.test_topologies import USER
from tests.topologies import Certificate, Node, count_contexts, single_topology
from tests.waiting import PATIENCE_SECONDS, until


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Node, Certificate]]:
    with single_topology() as running:
        yield running


def refused(url: str) -> str:
    with pytest.raises(StoreUnavailable) as refused:
        Store.connect(url)
    assert "hush" not in refused.value.message
    return refused.value.message


def test_a_user_with_the_documented_permissions_commits_and_hears_changes(
    running: tuple[Node, Certificate],
) -> None:
    node, certificate = running
    node.run("ACL", "SETUSER", "flags", *USER)
    url = f"valkeys://flags:hush%2Fhush@127.0.0.1:{node.port}/0?{certificate.options}"
    store = Store.connect(url)
    subscription = store.change_feed.subscribe(SHOP, PRODUCTION)
    store.commit(change(put("tls"), refreshes=refreshed("checkout").refreshes, audit=audit()))
    assert subscription.get(PATIENCE_SECONDS)
    assert store.get(SHOP, place("tls")) is not None
    assert store.durability() == "disk"
    store.close()


def test_connections_share_what_they_read_of_the_machine(
    running: tuple[Node, Certificate], monkeypatch: pytest.MonkeyPatch
) -> None:
    node, certificate = running
    made = count_contexts(monkeypatch)
    url = f"valkeys://127.0.0.1:{node.port}/0?{certificate.options}"
    for _ in range(2):
        Store.connect(url).close()
    assert len(made) <= 1


def test_the_error_says_what_is_wrong_with_the_certificate(
    running: tuple[Node, Certificate], tmp_path: Path
) -> None:
    node, certificate = running
    url = f"valkeys://:hush@127.0.0.1:{node.port}/0"
    other = Certificate(tmp_path)
    own = f"cert={certificate.path}&key={certificate.key}"
    assert "certificate is not accepted: self-signed certificate" in refused(url)
    assert "not accepted" in refused(f"{url}?ca={other.path}&{own}")
    elsewhere = url.replace("127.0.0.1", "localhost")
    assert "certificate is not valid for 'localhost'" in refused(
        f"{elsewhere}?{certificate.options}"
    )
    # The server closes at once: what it says may be lost, and then the connection just broke.
    asks = "use the options cert and key"
    until(lambda: asks in refused(f"{url}?ca={certificate.path}"), "the server's own words")
    assert "cannot be reached, or the connection broke" in refused(url.replace("valkeys", "valkey"))


def test_files_that_are_of_no_use_stop_the_start(tmp_path: Path) -> None:
    nothing = tmp_path / "empty.pem"
    nothing.touch()
    for options in (f"ca={tmp_path}/missing.pem", f"ca={nothing}", f"cert={nothing}&key={nothing}"):
        for url in (
            f"valkeys://127.0.0.1:1/0?{options}",
            f"valkey-sentinel://127.0.0.1:1/service?tls=true&{options}",
            f"valkey-cluster://127.0.0.1:1?tls=true&{options}",
        ):
            with pytest.raises(StartupRefused, match="ca, cert or key, whose file cannot be read"):
                Store.connect(url)
