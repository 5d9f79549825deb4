"""The primary is killed, under Sentinel and in a Cluster: nothing acknowledged is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import tidegate
from tidegate_server.domain.release import State
from tidegate_server.errors import InstanceForgotten, StoreUnavailable
from tidegate_server.store import Store

from examples.shop.admin import Admin
from examples.shop.processes import Processes, free_port
from tests.cli.calls import PROGRAM, Tidegate
from tests.cli.conftest import TOKEN
from tests.faults.test_store_killed import Writer
from tests.policy_job.deployment import Deployment
from tests.policy_job.test_faults import FAST, assert_ledger_is_complete, job, report
from tests.store.changes import SHOP, place
from tests.stores import TOPOLOGIES
from tests.topologies import RunningTopology
from tests.waiting import until

pytestmark = pytest.mark.topologies


@pytest.fixture(params=TOPOLOGIES)
def topology(request: pytest.FixtureRequest) -> Iterator[RunningTopology]:
    with TOPOLOGIES[request.param]() as running:
        yield running


def while_unavailable(action: Callable[[], None]) -> Callable[[], None]:
    """Return an action that does nothing while the store cannot be used."""

    def once() -> None:
        with suppress(StoreUnavailable, InstanceForgotten):
            action()

    return once


def read(condition: Callable[[], bool]) -> bool:
    """Return whether a condition holds; False while the store cannot be used."""
    with suppress(StoreUnavailable):
        return condition()
    return False


def test_a_failover_in_the_middle_of_a_ramp_loses_no_acknowledged_change(
    topology: RunningTopology,
) -> None:
    store = Store.connect(topology.url)
    deployment = Deployment(store)
    stop = threading.Event()
    writers = [Writer(topology.url, f"writer-{number}", stop) for number in range(2)]
    threads = [threading.Thread(target=writer.run) for writer in writers]
    deployment.start(FAST)
    sends = while_unavailable(report(deployment))

    def reaches(condition: Callable[[], bool]) -> bool:
        sends()
        return read(condition)

    with job(topology.url, "first"), job(topology.url, "second"):
        for thread in threads:
            thread.start()
        try:
            until(lambda: reaches(lambda: deployment.release().stage == 2), "the second stage")
            topology.fail_over(SHOP)
            seen = [len(writer.acknowledged) for writer in writers]
            until(
                lambda: reaches(lambda: deployment.release().state is State.COMPLETED),
                "the end of the ramp",
            )
            until(
                lambda: all(
                    len(writer.acknowledged) > before + 5
                    for writer, before in zip(writers, seen, strict=True)
                ),
                "changes after the failover",
            )
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    assert_ledger_is_complete(deployment)
    entries, _ = store.logs.audit(SHOP, limit=10**6)
    for writer in writers:
        done = [int(each.target) for each in reversed(entries) if each.actor == writer.name]
        assert set(writer.acknowledged) <= set(done)
        assert set(done) <= set(writer.acknowledged) | writer.unanswered
        assert done == sorted(set(done))  # in order, and none twice
        document = store.get(SHOP, place(writer.name))
        assert document is not None
        assert (document.document.name, document.revision) == (str(done[-1]), len(done))
    store.close()


def test_a_server_and_its_applications_go_on_after_a_failover(
    topology: RunningTopology, tmp_path: Path
) -> None:
    port, processes = free_port(), Processes(tmp_path)
    url = f"http://127.0.0.1:{port}"
    client = None
    try:
        processes.start(
            "server",
            [PROGRAM, "serve", "--port", str(port), "--workers", "1"],
            {
                "TIDEGATE_DATA_DIR": str(tmp_path / "data"),
                "TIDEGATE_STORE_URL": topology.url,
                "TIDEGATE_BOOTSTRAP_TOKEN": TOKEN,
            },
        )
        processes.wait_for("the server is ready", Admin(url, TOKEN).ready)
        admin = Tidegate({"TIDEGATE_URL": url, "TIDEGATE_TOKEN": TOKEN})
        place = ("--project", "default", "--environment", "production")
        admin.ok("flag", "create", "checkout", "--type", "boolean", "--project", "default")
        admin.ok("flag", "set", "checkout", "--default", "on", *place)
        admin.ok("flag", "enable", "checkout", *place)
        sdk = ("token", "create", "shop", "--role", "sdk", *place)
        client = tidegate.Client(url, admin.ok(*sdk).strip())
        assert client.wait_until_ready(60)
        assert client.boolean("checkout", False)

        topology.fail_over("default")
        assert client.boolean("checkout", False)
        kill = ("kill", "checkout", "--reason", "a test", *place)
        until(lambda: admin.run(*kill).status == 0, "a kill after the failover")
        until(lambda: not client.boolean("checkout", True), "the kill in the application")
        log = processes.log("server").read_text()
        assert "request_failed" not in log
        assert "Traceback" not in log
    finally:
        if client is not None:
            client.close()
        processes.stop()
