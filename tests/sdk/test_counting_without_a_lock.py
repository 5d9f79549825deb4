"""What an application counts takes no lock, and nothing is lost or counted twice."""

from __future__ import annotations

import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import tidegate
from tidegate import exposure_cells, reporting
from tidegate.evaluation.results import Exposure
from tidegate.exposure_cells import ExposureCells
from tidegate.reporting import Reporter

from tests.sdk.documents import a_flag, a_release, a_snapshot

THREADS, TIMES = 4, 3_000
GROUP = ("rel_1", 1, 1)
DOCUMENT = a_snapshot(a_flag("checkout", release=a_release((50, []))))
TREATMENT, CONTROL = Exposure(*GROUP, "treatment"), Exposure(*GROUP, "control")


@pytest.fixture(autouse=True)
def many_switches() -> Iterator[None]:
    """Let threads take turns as often as possible."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(*work: Any) -> None:
    threads = [threading.Thread(target=each) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def treatment(reporter: Reporter) -> list[int]:
    """Exposures, outcomes, errors and microseconds of the treatment."""
    return reporter.next_report().totals[GROUP][4:]


def test_every_thread_adds_to_one_cell() -> None:
    cells = ExposureCells()

    def work() -> None:
        for _ in range(TIMES):
            cells.step(TREATMENT)

    found: Counter[str] = Counter()

    def read() -> None:
        for _ in range(200):
            found.update({each.arm: more for each, more in cells.added()})

    in_threads(*[work] * THREADS, read)
    found.update({each.arm: more for each, more in cells.added()})
    assert found == {"treatment": THREADS * TIMES}


def test_a_cell_that_a_thread_holds_while_it_is_forgotten_loses_nothing() -> None:
    cells = ExposureCells()
    cells.step(TREATMENT)
    held = cells.steps[TREATMENT.cell]
    assert cells.added() == [(TREATMENT, 1)]
    cells.forget(GROUP)
    next(held)
    cells.step(TREATMENT)
    assert cells.added() == [(TREATMENT, 2)]
    assert cells.added() == []


def test_forgotten_cells_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposure_cells, "MAX_CELLS", 10)
    cells = ExposureCells()
    for step in range(100):
        each = Exposure("rel_1", step, 1, "control")
        assert cells.step(each)
        held = cells.steps[each.cell]
        cells.forget(each.group)
        next(held)
        assert sum(more for _, more in cells.added()) == 2
    assert len(cells.steps) <= 6


def test_cells_are_made_and_forgotten_by_threads_at_the_same_time() -> None:
    cells = ExposureCells()
    found: Counter[str] = Counter()

    def work() -> None:
        for _ in range(TIMES):
            cells.step(CONTROL)

    def read() -> None:
        for _ in range(300):
            found.update({each.arm: more for each, more in cells.added()})
            cells.forget(GROUP)

    in_threads(work, work, read)
    for _ in range(2):
        found.update({each.arm: more for each, more in cells.added()})
    assert found == {"control": 2 * TIMES}


def test_exposures_that_need_another_cell_are_dropped_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exposure_cells, "MAX_CELLS", 2)
    reporter = Reporter()
    for stratum in (1, 2, 3, 3, 1):
        reporter.expose(Exposure("rel_1", 1, stratum, "control"))
    assert sum(sum(totals) for totals in reporter.next_report().totals.values()) == 3
    assert reporter.dropped == 2


def test_operations_and_exposures_of_threads_are_all_reported() -> None:
    client = tidegate.Client.offline(DOCUMENT)
    reporter, stop = client._reporter, threading.Event()

    def work(thread: int) -> None:
        for number in range(TIMES):
            user = tidegate.Context(f"{thread}-{number}")
            with client.operation(user) as operation:
                client.boolean("checkout", False)
                if number % 3 == 0:
                    operation.fail()
            client.boolean("checkout", False, user)

    def report() -> None:
        while not stop.is_set():
            sent = reporter.next_report()
            for totals in sent.totals.values():
                for exposures, outcomes, errors in (totals[:3], totals[4:7]):
                    assert errors <= outcomes <= exposures
            reporter.acknowledge(sent.sequence, client._flags.releases.values())  # type: ignore[union-attr]

    reports = threading.Thread(target=report)
    reports.start()
    in_threads(*[lambda thread=thread: work(thread) for thread in range(THREADS)])
    stop.set()
    reports.join()
    ((_, totals),) = reporter.next_report().totals.items()
    count = THREADS * TIMES
    assert totals[0] + totals[4] == 2 * count
    assert totals[1] + totals[5] == count
    assert totals[2] + totals[6] == count // 3
    assert reporter.dropped == 0


def errors_while_closing() -> list[Exception]:
    """Return what operations raise that end in threads while another thread closes the client."""
    client, user = tidegate.Client.offline(DOCUMENT), tidegate.Context("ann")
    client._reporter.batch = 5
    errors: list[Exception] = []
    counting = threading.Semaphore(0)

    def work() -> None:
        try:
            while client.status().state != "closed":
                for _ in range(50):
                    with client.operation(user) as operation:
                        operation.exposures["rel_1"] = TREATMENT
                counting.release()
        except Exception as error:
            errors.append(error)
            counting.release()

    def close() -> None:
        for _ in range(THREADS):
            counting.acquire()
        client.close()

    in_threads(*[work] * THREADS, close)
    return errors


def test_operations_that_end_while_the_client_is_closed_raise_nothing() -> None:
    for _ in range(60):
        assert errors_while_closing() == []


def test_operations_are_added_to_the_totals_in_batches() -> None:
    reporter = Reporter()
    for _ in range(reporter.batch - 1):
        reporter.add([TREATMENT], "ok", 1, "ann")
    assert len(reporter.ended) == reporter.batch - 1
    reporter.add([TREATMENT], "ok", 1, "ann")
    assert len(reporter.ended) == 0
    assert treatment(reporter)[:2] == [reporter.batch, reporter.batch]


def test_an_operation_never_waits_for_a_report_that_is_being_made() -> None:
    reporter = Reporter()
    with reporter._lock:
        for _ in range(3 * reporter.batch):
            reporter.add([TREATMENT], "ok", 1, "ann")
    assert treatment(reporter)[1] == 3 * reporter.batch


def test_what_waits_is_bounded_and_what_is_dropped_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reporting, "MAX_WAITING", 150)
    monkeypatch.setattr(reporting, "LONGEST_WAIT", 0.001)
    reporter = Reporter()
    with reporter._lock:
        for _ in range(200):
            reporter.add([TREATMENT], "ok", 1, "ann")
        assert len(reporter.ended) < 150
    assert treatment(reporter)[1] == 149
    assert reporter.dropped == 51


def test_plain_operations_that_wait_are_bounded_and_what_is_dropped_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reporting, "MAX_WAITING", 150)
    monkeypatch.setattr(reporting, "LONGEST_WAIT", 0.001)
    client, reporter = plain_client()
    with reporter._lock:
        for _ in range(200):
            operate(client)
        assert [len(waiting) for waiting in reporter.plain.values()] == [149]
    ((_, totals),) = reporter.next_report().totals.items()
    assert totals[1] + totals[5] == 1 + 149
    assert reporter.dropped == 51


def test_an_operation_that_ends_while_its_release_is_forgotten_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client, reporter = plain_client()
    sent = reporter.next_report()
    reporter.acknowledge(sent.sequence, client._flags.releases.values())  # type: ignore[union-attr]
    sent = reporter.next_report()

    def operate_meanwhile(group: Any) -> bool:
        monkeypatch.undo()
        operate(client)
        return False

    monkeypatch.setattr(reporter._samples, "has_unreported", operate_meanwhile)
    reporter.acknowledge(sent.sequence, [])
    operate(client)
    ((_, totals),) = reporter.next_report().totals.items()
    assert totals[1] + totals[5] == 3
    assert reporter.dropped == 0


def test_operations_of_threads_are_reported_while_their_release_is_forgotten() -> None:
    client, reporter = plain_client()
    stop, forget, counted = threading.Event(), reporter._forget, 0
    before = [0] * 8

    def note_forgotten(group: Any) -> None:
        nonlocal before
        forget(group)
        if group not in reporter._totals:
            before = [0] * 8  # it starts again at zero

    def report_and_forget() -> None:
        nonlocal before, counted
        last = False
        while not last:
            last = stop.is_set()
            sent = reporter.next_report()
            for totals in sent.totals.values():
                counted += sum(totals[1::4]) - sum(before[1::4])
                before = totals
            reporter.acknowledge(sent.sequence, [])

    def work() -> None:
        for _ in range(TIMES):
            operate(client)

    reporter._forget = note_forgotten  # type: ignore[method-assign]
    reports = threading.Thread(target=report_and_forget)
    reports.start()
    in_threads(*[work] * THREADS)
    stop.set()
    reports.join()
    assert counted == 1 + THREADS * TIMES
    assert reporter.dropped == 0


def plain_client() -> tuple[tidegate.Client, Reporter]:
    """Return a client, and its reporter that knows the release, as after one operation."""
    client = tidegate.Client.offline(DOCUMENT)
    operate(client)
    client._reporter.collect()
    assert len(client._reporter.plain) == 1
    return client, client._reporter


def operate(client: tidegate.Client) -> None:
    with client.operation(tidegate.Context("ann")):
        client.boolean("checkout", False)


def test_a_signal_handler_may_count_while_it_interrupts_the_counting() -> None:
    client = tidegate.Client.offline(DOCUMENT)
    reporter = client._reporter
    handled = 0

    def handle(*_: Any) -> None:
        nonlocal handled
        number = handled = handled + 1  # another signal may come before the end
        with client.operation(tidegate.Context(f"handler-{number}")):
            client.boolean("checkout", False)
        # In the operation that was interrupted, or outside of one.
        client.boolean("checkout", False, tidegate.Context(f"other-{number}"))

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        for number in range(20_000):
            with client.operation(tidegate.Context(f"user-{number}")):
                client.boolean("checkout", False)
            if number % 500 == 0:
                reporter.next_report()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert handled > 10
    ((_, totals),) = reporter.next_report().totals.items()
    assert 20_000 + handled <= totals[1] + totals[5] <= 20_000 + 2 * handled
    assert totals[0] + totals[4] == 20_000 + 2 * handled


def test_threads_that_use_one_operation_count_each_user_once() -> None:
    client = tidegate.Client.offline(DOCUMENT)
    others = [tidegate.Context(f"user-{number}") for number in range(20)]
    for _ in range(50):
        with client.operation(others[0]) as operation:

            def work() -> None:
                for user in others:
                    operation.expose(client._evaluate("boolean", "checkout", user).exposures, user)

            in_threads(*[work] * THREADS)
    ((_, totals),) = client._reporter.next_report().totals.items()
    assert totals[1] + totals[5] == 50 * len(others)
