from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from tidegate_server.errors import StoreUnavailable
from tidegate_server.store import group_commit
from tidegate_server.store.group_commit import GroupCommit

from tests.waiting import until


class Calls:
    """What was called for; the first call waits until a test lets it go on."""

    def __init__(self) -> None:
        self.made: list[list[int]] = []
        self.goes_on = threading.Event()
        self.raises: Callable[[Sequence[int]], BaseException | None] = lambda items: None

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.made.append(list(items))
        self.goes_on.wait(10.0)
        error = self.raises(items)
        if error is not None:
            raise error
        return [10 * item for item in items]


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def group(calls: Calls) -> GroupCommit[int, int]:
    return GroupCommit(calls)


@pytest.fixture
def threads(calls: Calls) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(100) as pool:
        yield pool
        calls.goes_on.set()


def wait_in_order(
    group: GroupCommit[int, int],
    calls: Calls,
    threads: ThreadPoolExecutor,
    items: Sequence[int],
    weight: int = 1,
) -> list[Future[int]]:
    """Let items wait behind the first of them, whose call is made."""
    answers = []
    for item in items:
        answers.append(threads.submit(group.answer, item, weight))
        until(lambda: len(calls.made) == 1 and len(group._queue) == len(answers) - 1)
    return answers


def test_what_waits_while_a_call_is_made_goes_along_with_the_next_one(
    group: GroupCommit[int, int], calls: Calls, threads: ThreadPoolExecutor
) -> None:
    answers = wait_in_order(group, calls, threads, [1, 2, 3, 4])
    calls.goes_on.set()
    assert [each.result(10.0) for each in answers] == [10, 20, 30, 40]
    assert calls.made == [[1], [2, 3, 4]]
    assert group.is_idle
    assert group.answer(5) == 50


@pytest.mark.parametrize(("most", "weight"), [("MOST_ITEMS", 1), ("MOST_WEIGHT", 7)])
def test_a_call_has_so_much_at_most(
    group: GroupCommit[int, int],
    calls: Calls,
    threads: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
    most: str,
    weight: int,
) -> None:
    monkeypatch.setattr(group_commit, most, 2 * weight)
    answers = wait_in_order(group, calls, threads, range(6), weight)
    calls.goes_on.set()
    assert [each.result(10.0) for each in answers] == [0, 10, 20, 30, 40, 50]
    assert calls.made == [[0], [1, 2], [3, 4], [5]]


def test_after_a_call_with_company_enough_items_do_not_wait_for_more(
    group: GroupCommit[int, int],
    calls: Calls,
    threads: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(group_commit, "ENOUGH", 3)
    answers = wait_in_order(group, calls, threads, [1, 2, 3])
    calls.goes_on.set()
    assert [each.result(10.0) for each in answers] == [10, 20, 30]
    monkeypatch.setattr(group_commit, "PAUSE_SECONDS", 3_600.0)
    answers = [threads.submit(group.answer, item) for item in (4, 5)]
    until(lambda: len(group._queue) == 2)
    assert len(calls.made) == 2
    assert group.answer(6) == 60
    assert [each.result(10.0) for each in answers] == [40, 50]
    assert len(calls.made) == 3


def test_what_weighs_too_much_goes_alone(
    group: GroupCommit[int, int], calls: Calls, threads: ThreadPoolExecutor
) -> None:
    answers = wait_in_order(group, calls, threads, range(3), group_commit.MOST_WEIGHT + 1)
    calls.goes_on.set()
    assert [each.result(10.0) for each in answers] == [0, 10, 20]
    assert calls.made == [[0], [1], [2]]


def test_a_store_that_cannot_be_used_is_the_answer_to_all_of_a_call_and_to_no_other(
    group: GroupCommit[int, int], calls: Calls, threads: ThreadPoolExecutor
) -> None:
    calls.raises = lambda items: StoreUnavailable("away") if 2 in items else None
    answers = wait_in_order(group, calls, threads, [1, 2, 3])
    calls.goes_on.set()
    assert answers[0].result(10.0) == 10
    for each in answers[1:]:
        with pytest.raises(StoreUnavailable, match="away"):
            each.result(10.0)
    assert calls.made == [[1], [2, 3]]
    assert group.answer(4) == 40


def test_an_item_that_causes_an_error_gets_it_alone(
    group: GroupCommit[int, int], calls: Calls, threads: ThreadPoolExecutor
) -> None:
    calls.raises = lambda items: OverflowError("too large") if 3 in items else None
    answers = wait_in_order(group, calls, threads, [1, 2, 3, 4])
    calls.goes_on.set()
    assert [answers[number].result(10.0) for number in (0, 1, 3)] == [10, 20, 40]
    with pytest.raises(OverflowError):
        answers[2].result(10.0)
    assert calls.made == [[1], [2, 3, 4], [2], [3], [4]]


def test_nobody_waits_for_a_call_whose_thread_is_ended(
    group: GroupCommit[int, int], calls: Calls, threads: ThreadPoolExecutor
) -> None:
    calls.raises = lambda items: SystemExit() if 2 in items else None
    answers = wait_in_order(group, calls, threads, [1, 2, 3])
    calls.goes_on.set()
    assert answers[0].result(10.0) == 10
    with pytest.raises(SystemExit):
        answers[1].result(10.0)
    with pytest.raises(RuntimeError, match="ended"):
        answers[2].result(10.0)
    assert group.answer(4) == 40


def test_who_is_ended_before_its_call_stops_nobody_else(
    group: GroupCommit[int, int], calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls.goes_on.set()

    def end(seconds: float) -> None:
        monkeypatch.undo()
        raise SystemExit

    monkeypatch.setattr(time, "sleep", end)
    with pytest.raises(SystemExit):
        group.answer(1)
    assert group.is_idle
    assert group.answer(2) == 20
    assert calls.made == [[2]]


def test_many_threads_get_their_own_answers(group: GroupCommit[int, int], calls: Calls) -> None:
    calls.goes_on.set()
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(group.answer, range(2_000))) == [10 * item for item in range(2_000)]
    assert sorted(item for made in calls.made for item in made) == list(range(2_000))
    assert group.is_idle
