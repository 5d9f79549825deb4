from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tidegate.counts import NOTHING, Counts
from tidegate_server.decisions.observations import close_window
from tidegate_server.domain.evidence import GroupCounts

BEFORE = (GroupCounts(2, 1, Counts(100, 90, 5, 3), Counts(10, 9, 1, 1)),)


def window(now: tuple[GroupCounts, ...], step: int = 2, shares: dict[int, float] | None = None):  # type: ignore[no-untyped-def]
    return close_window(
        BEFORE, now, shares=shares or {1: 0.1}, step=step, opened_ms=1_000, closed_ms=2_000
    )


def test_a_window_holds_what_was_added_to_the_totals() -> None:
    closed = window((GroupCounts(2, 1, Counts(150, 130, 6, 4), Counts(16, 14, 1, 1)),))

    assert closed.strata[0].control == Counts(50, 40, 1, 1)
    assert closed.strata[0].treatment == Counts(6, 5, 0, 0)
    assert closed.strata[0].share == 0.1


def test_counts_of_an_earlier_step_are_late_in_both_arms() -> None:
    closed = window((GroupCounts(2, 1, Counts(150, 130, 6, 4), Counts(16, 14, 1, 1)),), step=3)

    assert closed.strata[0].control == closed.strata[0].treatment == NOTHING
    assert closed.late_control == Counts(50, 40, 1, 1)
    assert closed.late_treatment == Counts(6, 5, 0, 0)


def test_counts_of_a_stratum_that_is_not_open_are_late() -> None:
    closed = window((*BEFORE, GroupCounts(2, 7, Counts(5, 5), Counts(3, 3))))

    assert closed.control == closed.treatment == NOTHING
    assert closed.late_control.outcomes == 5


def test_every_open_stratum_is_in_the_window_even_without_counts() -> None:
    closed = window(BEFORE, shares={1: 0.1, 2: 0.05})

    assert [stratum.stratum for stratum in closed.strata] == [1, 2]


def test_totals_that_went_back_add_nothing() -> None:
    assert window((GroupCounts(2, 1, NOTHING, NOTHING),)).control == NOTHING


def test_a_window_without_any_comparable_stratum_has_no_control() -> None:
    assert not window(BEFORE, shares={1: 1.0}).has_control
    assert window(BEFORE, shares={1: 1.0, 2: 0.5}).has_control


@given(st.lists(st.integers(0, 1_000), min_size=1, max_size=8))
def test_windows_add_up_to_the_totals(steps: list[int]) -> None:
    last: tuple[GroupCounts, ...] = ()
    seen = NOTHING
    total = 0
    for more in steps:
        total += more
        now = (GroupCounts(1, 1, Counts(exposures=total), NOTHING),)
        closed = close_window(last, now, shares={1: 0.5}, step=1, opened_ms=0, closed_ms=1)
        seen = seen + closed.control
        last = now

    assert seen.exposures == total
