"""How often flags are asked for is counted exactly where that is rare, and estimated elsewhere."""

from __future__ import annotations

import json
import random
import statistics
import threading
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import tidegate
from tidegate import Context, evaluation_counts, random_numbers
from tidegate.client import Client
from tidegate.errors import Rejected
from tidegate.evaluation_counts import COUNTED, EvaluationCounts, FlagTotals
from tidegate.flag_follower import Report
from tidegate.reporting import Reporter
from tidegate.sync import HttpSource

from tests.sdk.documents import a_flag, a_release, a_snapshot
from tests.sdk.server import Environment
from tests.waiting import soon

SPLIT = {"split": [{"variant": "on", "weight": 25}, {"variant": "off", "weight": 75}]}
DOCUMENT = a_snapshot(
    a_flag("plain"),
    a_flag("split", default=SPLIT),
    a_flag("released", release=a_release((50, []))),
    a_flag("needs", prerequisites=[{"flag": "plain", "variants": ["on"]}]),
    a_flag(
        "text", type="string", variants=[{"key": "on", "value": "a"}, {"key": "off", "value": "b"}]
    ),
)


ROUNDS = 60


def counts_of(client: Client) -> EvaluationCounts:
    return client._reporter.evaluations


@pytest.fixture
def client() -> Iterator[Client]:
    """A client that counts as one that reports, with no server."""
    made = Client.offline(json.dumps(DOCUMENT))
    counts_of(made).begin()
    yield made
    made.close()


def ask_as_anyone(client: Client, dice: random.Random) -> None:
    client.boolean("split", False, f"user-{dice.randrange(10**9)}")


def totals(client: Client) -> dict[str, FlagTotals]:
    return counts_of(client).changed(last=True)


class Clock:
    """A clock that a test moves; ``wait`` runs what is due meanwhile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        self.per_second = 0.0
        self.ask: Callable[[], object] = lambda: None
        self.asked = 0
        self._asked_at = self.now
        monkeypatch.setattr(evaluation_counts, "time", SimpleNamespace(monotonic=lambda: self.now))

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while self.per_second and self._next_ask(end):
            self.asked += 1
            self.ask()
        self.now = end

    def _next_ask(self, end: float) -> bool:
        """Go to the time of the next question; return False if that is after ``end``."""
        following = self._asked_at + 1.0 / self.per_second
        if following > end:
            return False
        self._asked_at = following
        self.now = max(self.now, following)
        return True


def test_a_flag_that_is_rarely_asked_is_counted_exactly(client: Client) -> None:
    for number in range(COUNTED - 1):
        client.boolean("split", False, f"user-{number}")
    expected = sum(client.boolean("split", False, f"user-{n}") for n in range(COUNTED - 1))
    found = totals(client)["split"]
    assert found.estimated is False
    # The second pass is not all counted: only what came before the limit.
    assert found.variants["on"] + found.variants["off"] >= COUNTED - 1
    assert 0 < found.variants["on"] <= 2 * expected


def test_each_way_of_asking_counts_once(client: Client) -> None:
    user = Context("ann")
    for _ in range(5):
        client.boolean("plain", False, user)
        client.boolean_details("plain", False, user)
        client.string("text", "", user)
        client.boolean("released", False, user)
        with client.operation(user):
            client.boolean("released", False)
    found = totals(client)
    assert found["plain"] == FlagTotals({"on": 10}, 0, False)
    assert found["text"] == FlagTotals({"on": 5}, 0, False)
    assert sum(found["released"].variants.values()) == 10


@pytest.mark.parametrize("times", [1, 2, 5])
def test_what_was_asked_before_reports_began_counts(times: int) -> None:
    client = Client.offline(json.dumps(DOCUMENT))
    for _ in range(times):
        client.boolean_details("plain", False, "ann")
    if times == 2:
        assert totals(client) == {"plain": FlagTotals({"on": 2}, 0, False)}
    counts_of(client).begin()
    client.boolean("plain", False, "ann")
    client.boolean("plain", False, "ann")
    assert totals(client) == {"plain": FlagTotals({"on": times + 2}, 0, False)}


def test_a_prerequisite_was_not_asked_for(client: Client) -> None:
    client.boolean("needs", False, "ann")
    assert totals(client) == {"needs": FlagTotals({"on": 1}, 0, False)}


def test_what_gives_the_applications_default_is_counted_apart(client: Client) -> None:
    client.boolean("gone", False, "ann")
    client.string("plain", "", "ann")
    client.boolean("released", False)
    found = totals(client)
    assert found["gone"] == FlagTotals({}, 1, False)
    assert found["plain"] == FlagTotals({}, 1, False)
    assert found["released"].defaults >= 1


@pytest.mark.parametrize("key", ["", "Not a key", "a b", "-a", "a\n", "a" * 101, "é", None, 7])
def test_what_no_flag_can_be_called_is_not_counted(client: Client, key: Any) -> None:
    assert client.boolean(key, True, "ann") is True
    assert totals(client) == {}


def test_made_up_keys_take_bounded_memory(client: Client) -> None:
    for number in range(evaluation_counts.MAX_UNKNOWN + 50):
        client.boolean(f"gone-{number}", False, "ann")
    assert len(totals(client)) == evaluation_counts.MAX_UNKNOWN


def test_a_busy_flag_is_estimated_without_bias(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean of many estimates is within four standard errors of what was asked."""
    clock = Clock(monkeypatch)
    dice = random.Random(20261129)
    monkeypatch.setattr(random_numbers, "RANDOM", dice)
    ratios = []
    for _ in range(40):
        client = Client.offline(json.dumps(DOCUMENT))
        counts_of(client).begin()
        clock.ask = partial(ask_as_anyone, client, dice)
        clock.asked, clock.per_second = 0, 300.0
        for _ in range(ROUNDS):
            counts_of(client).observe(clock.wait, dice.uniform(0.5, 1.5))
        found = totals(client)["split"]
        assert found.estimated
        ratios.append(sum(found.variants.values()) / clock.asked)
        clock.ask = lambda: None
        client.close()
    error = statistics.stdev(ratios) / len(ratios) ** 0.5
    # What was asked after the last slice is not counted yet.
    assert -4 * error - 1 / ROUNDS < statistics.mean(ratios) - 1.0 < 4 * error


def test_an_evaluation_that_is_not_counted_uses_the_flags_own_function(client: Client) -> None:
    for _ in range(COUNTED + 5):
        client.boolean("plain", False, "ann")
    compiled = client._flags
    assert compiled is not None
    flag = compiled.flag("plain")
    assert flag is not None
    assert client._booleans["plain"] == (flag.evaluate, flag.shortcut)


def test_a_change_of_a_flag_is_in_force_whatever_is_being_counted(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    for _ in range(COUNTED + 5):
        client.boolean("plain", False, "ann")
    killed = a_snapshot(a_flag("plain", killed="off"), a_flag("split"))
    replaced = tidegate.lifecycle.compile_document(json.dumps({**killed, "version": 2}))

    def replace_flags() -> None:
        client._apply_flags(replaced)
        assert client.boolean("plain", True, "ann") is False

    clock.per_second, clock.ask = 100.0, replace_flags
    counts_of(client).observe(clock.wait, 1.0)
    assert client.boolean("plain", True, "ann") is False
    counts_of(client)._renew()
    assert client.boolean("plain", True, "ann") is False


def test_threads_lose_no_count(client: Client) -> None:
    def work() -> None:
        for _ in range(40):
            client.boolean("plain", False, "ann")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert totals(client)["plain"] == FlagTotals({"on": 160}, 0, False)


def test_reports_repeat_totals_until_they_arrive_and_then_leave_them_out() -> None:
    reporter = Reporter()
    reporter.evaluations.count("plain", "on")
    first = reporter.next_report(last=True)
    second = reporter.next_report(last=True)
    assert first.evaluations == second.evaluations == {"plain": FlagTotals({"on": 1}, 0, False)}
    reporter.acknowledge(second.sequence)
    assert reporter.next_report(last=True).evaluations == {}
    reporter.evaluations.count("plain", "off")
    assert reporter.next_report(last=True).evaluations == {
        "plain": FlagTotals({"on": 1, "off": 1}, 0, False)
    }


def test_a_new_flag_is_reported_at_once_and_more_of_it_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    reporter = Reporter()
    reporter.evaluations.count("plain", "on")
    reporter.acknowledge(reporter.next_report().sequence)
    reporter.evaluations.count("plain", "on")
    reporter.evaluations.count("other", "on")
    assert set(reporter.next_report().evaluations) == {"other"}
    clock.now += evaluation_counts.REPORT_SECONDS
    assert set(reporter.next_report().evaluations) == {"plain", "other"}


def test_a_forgotten_instance_goes_on_with_what_was_never_acknowledged() -> None:
    reporter = Reporter()
    for _ in range(3):
        reporter.evaluations.count("plain", "on")
    reporter.acknowledge(reporter.next_report(last=True).sequence)
    reporter.evaluations.count("plain", "on")
    reporter.evaluations.count("plain", None)
    reporter.renew_instance()
    assert reporter.next_report(last=True).evaluations == {"plain": FlagTotals({"on": 1}, 1, False)}


class EarlierServer:
    """The transport to a server that refuses reports with evaluations."""

    host, pid, application, uptime = "here", 1, "shop", 1.0

    def __init__(self) -> None:
        self.answer: dict[str, Any] = {}
        self.reports: list[dict[str, Any]] = []

    def report(self, document: dict[str, Any]) -> bool:
        self.reports.append(document)
        if "evaluations" in document:
            raise Rejected("invalid", "/evaluations: There is no such field; leave it out.")
        return True


def test_a_server_that_knows_no_evaluations_gets_everything_else() -> None:
    server, reporter = EarlierServer(), Reporter()
    source = HttpSource(server)  # type: ignore[arg-type]
    for _ in range(2):
        reporter.evaluations.count("plain", "on")
        assert source.report(Report(reporter.next_report(last=True), 1, 10.0, leaving=False))
    assert ["evaluations" in each for each in server.reports] == [True, False, False]


def test_the_server_shows_what_an_application_asked(environment: Environment) -> None:
    environment.flag("checkout")
    environment.flag("retired")
    client = Client(environment.url, environment.token)
    assert client.wait_until_ready(60)
    for _ in range(7):
        client.boolean("checkout", True, "ann")
    client.boolean("no-such-flag", True, "ann")
    client.close()

    def evaluated() -> Any:
        shown = environment.admin.get(f"{environment.at}/flags/checkout").json
        assert shown is not None
        return shown["evaluated"]

    soon(lambda: evaluated()["last_at"] is not None, "the report")
    found = evaluated()
    assert (found["by_variant"]["off"]["count"], found["estimated"]) == (7, False)
    assert found["defaults"] is None
    unknown = environment.admin.get(f"{environment.at}/unknown-flags").json
    assert unknown is not None
    assert [each["key"] for each in unknown["items"]] == ["no-such-flag"]
    retired = environment.admin.get(f"{environment.at}/flags/retired").json
    assert retired is not None
    assert retired["evaluated"]["last_at"] is None
