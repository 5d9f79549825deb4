"""What a drill says, and what it takes for a failure."""

from __future__ import annotations

import pytest
from tidegate_server.drill.changes import lost
from tidegate_server.drill.cuts import CUTS
from tidegate_server.drill.exercise import Count, Outcome
from tidegate_server.drill.journals import Seen
from tidegate_server.drill.words import count_lines, duration, outcome_lines


def outcome(*failures: str) -> Outcome:
    return Outcome(
        CUTS[1],
        lasted=10.04,
        seen=Seen(12_345, len(failures), 0.0004, 10.2),
        refused=3,
        acknowledged=57,
        back=0.084,
        kill=0.012,
        decided=1.26,
        failures=list(failures),
    )


def test_what_held_is_said_in_plain_words() -> None:
    assert list(outcome_lines(2, outcome())) == [
        "2. The store hangs (SIGSTOP), for 10 s.",
        "   Applications  12,345 evaluations answered, 0 errors, the slowest took 0.4 ms",
        "   Changes       did not arrive for 10.2 s, and again 84 ms after the end",
        "   Kill          arrived in every worker 12 ms after the request",
        "   Policy job    evaluated the release 1.3 s after the end",
        "   Acknowledged  57 changes so far, none is lost; 3 were refused or not answered",
        "   Held.",
    ]


def test_what_failed_is_named_and_what_never_came_is_left_out() -> None:
    failed = outcome("changes arrive again: not within 90 seconds.")
    failed.back = failed.kill = failed.decided = None
    lines = list(outcome_lines(1, failed))
    assert lines[-1] == "   FAILED: Changes arrive again: not within 90 seconds."
    assert not any("Kill" in line or "Policy job" in line for line in lines)
    assert "1 error," in lines[1]


@pytest.mark.parametrize(("count", "last"), [
    (Count(500, 500), "   Held."),
    (Count(500, 499), "   FAILED: Operations are lost, or were counted twice."),
    (Count(500, 501), "   FAILED: Operations are lost, or were counted twice."),
])  # fmt: skip
def test_operations_are_counted_exactly_once(count: Count, last: str) -> None:
    assert list(count_lines(count))[-1] == last


@pytest.mark.parametrize(("in_the_log", "present", "missing"), [
    ([1, 2, 3, 4], 4, []),
    ([1, 2, 4, 5], 5, [3]),  # 5 was made, but its answer did not arrive
    ([1, 2, 3, 4], 3, [4]),  # the log has it, and the flag does not
    ([1, 2], 2, [3, 4]),
])  # fmt: skip
def test_an_acknowledged_change_is_lost_if_the_log_or_the_flag_lacks_it(
    in_the_log: list[int], present: int, missing: list[int]
) -> None:
    assert lost([1, 2, 3, 4], in_the_log, present) == missing


def test_times_are_in_the_unit_that_reads_best() -> None:
    assert [duration(each) for each in (0.0004, 0.012, 0.999, 3.14)] == [
        "0.4 ms",
        "12 ms",
        "999 ms",
        "3.1 s",
    ]
