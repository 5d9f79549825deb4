"""A release whose treatment fails while the server is away is closed here until it is back."""

from __future__ import annotations

import itertools
import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tidegate import Client, Context, transport
from tidegate.details import ClientEvent
from tidegate.errors import Unreachable
from tidegate.evaluation.compiled_snapshot import CompiledSnapshot
from tidegate.integrations.prometheus import ClientCollector
from tidegate.local_breaker import LocalBreaker
from tidegate.reporting import Reporter
from tidegate.runtime import threads
from tidegate.sync import ServerConnection

from tests.sdk import bad_proxy
from tests.sdk.bad_proxy import Mode, Proxy
from tests.sdk.documents import a_flag, a_release, a_snapshot, compiled
from tests.sdk.server import POLICY, Environment
from tests.waiting import soon

pytestmark = pytest.mark.usefixtures("impatient")

GUARDED: dict[str, Any] = {**POLICY, "key": "guarded", "local_breaker": True}
"""In the first stage half of the users get the treatment."""

Start = Callable[..., Client]


class Visitors:
    """Users with one operation each."""

    def __init__(self, client: Client, *flags: str) -> None:
        self._client = client
        self._flags = flags
        self._numbers = itertools.count()
        self.treated = 0

    def come(self, number: int = 20, fail: bool = True) -> None:
        """Run operations of new users; with ``fail`` those of the treatment fail."""
        for _ in range(number):
            with self._client.operation(Context(f"user-{next(self._numbers)}")) as operation:
                values = [self._client.boolean(flag, False) for flag in self._flags]
                self.treated += any(values)
                if fail and any(values):
                    operation.fail()


@pytest.fixture
def proxy(proxy: Proxy, environment: Environment) -> Proxy:
    environment.flag("checkout")
    return proxy


@pytest.fixture
def start(proxy: Proxy, environment: Environment) -> Iterator[Start]:
    """Start clients behind the proxy; they are closed at the end of the test."""
    clients: list[Client] = []

    def start(**more: Any) -> Client:
        client = Client(proxy.url, environment.token, **more)
        clients.append(client)
        return client

    yield start
    proxy.switch_to(bad_proxy.pass_through)
    for client in clients:
        client.close()


def connected(client: Client) -> Client:
    soon(lambda: client.status().state == "connected", "the client is connected")
    return client


def serves(client: Client, key: str = "checkout") -> set[bool]:
    """Return the values that fifty users get."""
    return {client.boolean(key, False, Context(f"somebody-{number}")) for number in range(50)}


def closed_here(client: Client) -> float:
    """Return the metric of releases closed here."""
    samples = [sample for metric in ClientCollector(client).collect() for sample in metric.samples]
    return next(each.value for each in samples if each.name == "tidegate_client_closed_here")


def fail_until_closed(client: Client, visitors: Visitors) -> None:
    """Let users fail until the release is closed here."""

    def look() -> bool:
        visitors.come()
        return bool(client.status().closed_here)

    soon(look, "the release is closed here")


def cut_off(proxy: Proxy, start: Start, **more: Any) -> Client:
    """Return a client that lost the server and closed the release."""
    client = connected(start(**more))
    proxy.switch_to(bad_proxy.refuse)
    fail_until_closed(client, Visitors(client, "checkout"))
    return client


AWAY: dict[str, Mode] = {
    "is gone": bad_proxy.refuse,
    "never answers": bad_proxy.black_hole,
    "refuses the token": bad_proxy.respond("401 Unauthorized", {}),
}


@pytest.mark.parametrize("how", AWAY)
def test_a_release_that_fails_during_an_outage_is_closed_and_reported_later(
    proxy: Proxy,
    environment: Environment,
    start: Start,
    caplog: pytest.LogCaptureFixture,
    how: str,
) -> None:
    release = environment.release("checkout", GUARDED)
    client = connected(start())
    events: list[ClientEvent] = []
    client.listen(events.append)
    visitors = Visitors(client, "checkout")
    assert serves(client) == {True, False}
    caplog.set_level(logging.INFO, "tidegate")
    proxy.switch_to(AWAY[how])
    fail_until_closed(client, visitors)

    assert client.status().closed_here == {"checkout"}
    assert closed_here(client) == 1
    assert serves(client) == {False}
    # The listener is called after the release is closed.
    changed = ClientEvent("changed", frozenset({"checkout"}))
    soon(lambda: changed in events, "the listener is called")
    (line,) = [each for each in caplog.messages if "closed here" in each]
    assert line.startswith(
        "the release of checkout is closed here until the server answers again: "
    )

    proxy.switch_to(bad_proxy.pass_through)
    connected(client)
    assert not client.status().closed_here
    assert serves(client) == {True, False}
    soon(lambda: environment.evidence(release).trips.count == 1, "the trip is reported")
    assert environment.evidence(release).trips.milliseconds >= 0
    # Failures during the outage are counted, and none twice.
    treatment = environment.evidence(release).readings[0].treatment
    assert treatment.failing == treatment.errors == visitors.treated


def test_users_of_a_closed_release_are_no_evidence(
    proxy: Proxy, environment: Environment, start: Start
) -> None:
    release = environment.release("checkout", GUARDED)
    client = connected(start())
    visitors = Visitors(client, "checkout")
    proxy.switch_to(bad_proxy.refuse)
    fail_until_closed(client, visitors)
    counted = client._reporter.take_window()[0]
    visitors.come(200)

    assert client._reporter.take_window()[0] == counted
    proxy.switch_to(bad_proxy.pass_through)
    (arms,) = counted.values()
    soon(lambda: environment.outcomes(release) == sum(arms), "earlier operations are reported")


def test_a_release_whose_policy_does_not_allow_it_stays_open(
    proxy: Proxy, environment: Environment, start: Start
) -> None:
    environment.flag("banner")
    environment.release("checkout", GUARDED)
    environment.release("banner", POLICY)
    client = connected(start())
    proxy.switch_to(bad_proxy.refuse)
    fail_until_closed(client, Visitors(client, "checkout", "banner"))

    assert client.status().closed_here == {"checkout"}
    assert serves(client, "banner") == {True, False}


def test_while_connected_only_the_server_decides(environment: Environment, start: Start) -> None:
    release = environment.release("checkout", GUARDED)
    client = connected(start())
    Visitors(client, "checkout").come(300)
    soon(lambda: environment.outcomes(release) == 300, "the operations are reported")

    assert not any(thread.name == "tidegate-breaker" for thread in threading.enumerate())
    assert serves(client) == {True, False}


def test_a_treatment_that_works_stays_open_through_an_outage(
    proxy: Proxy, environment: Environment, start: Start
) -> None:
    environment.release("checkout", GUARDED)
    client = connected(start())
    proxy.switch_to(bad_proxy.refuse)
    soon(lambda: client.status().state == "stale", "the client is stale")
    visitors = Visitors(client, "checkout")
    windows = []
    look = client._reporter.take_window

    def counted() -> Any:
        windows.append(visitors.treated)
        return look()

    client._reporter.take_window = counted  # type: ignore[method-assign]
    while len(windows) < 10:
        visitors.come(fail=False)
    assert not client.status().closed_here
    assert serves(client) == {True, False}


def test_the_next_start_without_the_server_uses_the_servers_flags(
    proxy: Proxy, environment: Environment, start: Start, tmp_path: Path
) -> None:
    environment.release("checkout", GUARDED)
    first = cut_off(proxy, start, cache_path=tmp_path / "flags.json")
    first.close()
    second = start(cache_path=tmp_path / "flags.json")

    assert serves(second) == {True, False}
    fail_until_closed(second, Visitors(second, "checkout"))
    assert serves(second) == {False}


def test_changes_made_during_the_outage_apply_afterwards(
    proxy: Proxy, environment: Environment, start: Start
) -> None:
    environment.release("checkout", GUARDED)
    environment.flag("banner")
    client = cut_off(proxy, start)
    environment.target("banner", default={"variant": "on"})
    environment.kill("checkout")
    proxy.switch_to(bad_proxy.pass_through)
    soon(lambda: client.boolean("banner", False), "the change has arrived")
    soon(
        lambda: client.boolean_details("checkout", False).metadata.get("killed", False),
        "the kill, the change after it, has arrived",
    )
    environment.restore("checkout")
    soon(lambda: serves(client) == {True, False}, "the release is open again")


def test_a_release_killed_during_the_outage_does_not_open_in_between(
    proxy: Proxy, environment: Environment, start: Start
) -> None:
    environment.release("checkout", GUARDED)
    client = cut_off(proxy, start)
    connection = client._lifecycle.connection
    assert isinstance(connection, ServerConnection)
    breaker = connection._breaker
    apply, killed = breaker._apply_flags, []

    def applied(flags: CompiledSnapshot) -> None:
        killed.append("checkout" in flags.killed)
        apply(flags)

    breaker._apply_flags = applied
    environment.kill("checkout")
    proxy.switch_to(bad_proxy.pass_through)
    connected(client)
    soon(lambda: bool(killed), "the server's flags are applied")
    assert killed == [True]


def test_a_release_can_be_closed_again_in_the_next_outage(
    proxy: Proxy, environment: Environment, start: Start
) -> None:
    release = environment.release("checkout", GUARDED)
    client = connected(start())
    visitors = Visitors(client, "checkout")
    for times in (1, 2):
        proxy.switch_to(bad_proxy.refuse)
        fail_until_closed(client, visitors)
        proxy.switch_to(bad_proxy.pass_through)
        connected(client)
        soon(
            lambda times=times: environment.evidence(release).trips.count == times,  # type: ignore[misc]
            "the trip is reported",
        )


def test_a_forked_child_starts_with_the_release_closed(
    proxy: Proxy, environment: Environment, start: Start
) -> None:
    environment.release("checkout", GUARDED)
    client = cut_off(proxy, start)
    there, here = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(here, f"{sorted(client.status().closed_here)} {serves(client)};".encode())
            soon(lambda: client.status().state == "connected", "the child is connected")
            os.write(here, f"{sorted(client.status().closed_here)} {serves(client)}".encode())
        finally:
            os._exit(0)
    os.close(here)
    assert os.read(there, 100) == b"['checkout'] {False};"
    proxy.switch_to(bad_proxy.pass_through)
    assert os.read(there, 100) == b"[] {False, True}"
    os.close(there)
    os.waitpid(pid, 0)


def test_a_closed_client_stops_watching(
    proxy: Proxy, environment: Environment, start: Start
) -> None:
    environment.release("checkout", GUARDED)
    client = cut_off(proxy, start)
    client.close()

    assert serves(client) == {False}
    assert client.status().state == "closed"


def test_an_open_trip_is_reported_with_its_failures_if_reports_arrive_before_flags(
    proxy: Proxy, environment: Environment, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = environment.release("checkout", GUARDED)
    client = connected(start())
    visitors = Visitors(client, "checkout")
    proxy.switch_to(bad_proxy.refuse)
    fail_until_closed(client, visitors)

    def unreachable(*_: Any) -> Any:
        raise Unreachable("waiting for the next attempt")

    with monkeypatch.context() as patched:
        patched.setattr(transport.Transport, "events", unreachable)
        patched.setattr(transport.Transport, "snapshot", unreachable)
        proxy.switch_to(bad_proxy.pass_through)
        soon(lambda: environment.evidence(release).trips.count == 1, "the trip is reported")
        assert client.status().closed_here
        (reading,) = environment.evidence(release).readings
        assert reading.treatment.errors == visitors.treated
    connected(client)
    client.close()
    assert environment.evidence(release).trips.count == 1


def test_updates_go_on_when_no_thread_can_be_started(
    proxy: Proxy, environment: Environment, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment.release("checkout", GUARDED)
    client = connected(start())
    tried = []

    def refuse(name: str, work: Callable[[], None]) -> None:
        tried.append(name)
        raise RuntimeError("can't create new thread at interpreter shutdown")

    with monkeypatch.context() as patched:
        patched.setattr(threads, "start", refuse)
        proxy.switch_to(bad_proxy.refuse)
        soon(lambda: len(tried) > 1, "each failure tries again")
        proxy.switch_to(bad_proxy.pass_through)
        connected(client)
    proxy.switch_to(bad_proxy.refuse)
    fail_until_closed(client, Visitors(client, "checkout"))


def test_stopping_waits_for_no_lock_so_that_a_signal_handler_may_do_it() -> None:
    breaker = LocalBreaker(Reporter(), lambda: None, lambda flags: None, lambda event: None)
    with breaker._lock:
        breaker.stop()


def test_a_release_keeps_its_number_of_epochs_while_it_is_not_watched() -> None:
    def flags(percentage: float) -> CompiledSnapshot:
        guarded = {"local_breaker": {"relative": 0.1, "absolute": 0.0}}
        another = a_release((50, []), id="rel_2", **guarded)
        return compiled(
            a_snapshot(
                a_flag("checkout", release=a_release((percentage, []), **guarded)),
                a_flag("banner", release=another),
            )
        )

    in_force = flags(50)

    def apply_flags(flags: CompiledSnapshot) -> None:
        nonlocal in_force
        in_force = flags

    breaker = LocalBreaker(Reporter(), lambda: in_force, apply_flags, lambda event: None)
    for outage, percentage in enumerate((50, 100, 50), 1):
        breaker.end_outage(flags(percentage))
        breaker.start_outage()
        soon(lambda outage=outage: breaker._epochs.get("rel_2") == outage, "a window is over")  # type: ignore[misc]
    breaker.stop()
    assert breaker._epochs == {"rel_1": 2, "rel_2": 3}
