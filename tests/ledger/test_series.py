"""A series keeps a bounded number of readings, and loses no counts."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate.histogram import upper_bound
from tidegate_server.decisions.decision import Action
from tidegate_server.decisions.progress import initial_progress
from tidegate_server.domain.checks import Check, ClientEvidence, Metric
from tidegate_server.domain.evidence import GroupValues
from tidegate_server.domain.release import State
from tidegate_server.ledger.series import (
    MOST_READINGS,
    SLOTS_PER_LEVEL,
    ArmCounts,
    Reading,
    points,
    slots,
    take_reading,
    thin,
)

from tests.decisions.simulated_release import EvaluatedRelease, policy

INTERVAL_MS = 30_000


def reading(window: int, step: int = 1) -> Reading:
    """Return the reading of a window in which each arm counted its own number."""
    control = ArmCounts(100 * window, 3 * window, 2 * window)
    treatment = ArmCounts(10 * window, window, window)
    return Reading(
        window,
        window * INTERVAL_MS,
        step,
        step,
        1,
        Action.HOLD,
        State.RUNNING,
        control,
        treatment,
    )


def kept_of(windows: int, step_of: dict[int, int] | None = None) -> list[Reading]:
    """Return what is kept of a release after this many windows; a step begins at each key."""
    kept: dict[str, tuple[int, int]] = {}
    step = 1
    for window in range(1, windows + 1):
        step = (step_of or {}).get(window, step)
        kept.update(dict.fromkeys(slots(window, step), (window, step)))
    return [reading(*each) for each in kept.values()]


@pytest.mark.parametrize("windows", [1, 239, 240, 5_000, 300_000])
def test_recent_windows_are_all_kept_and_earlier_ones_evenly(windows: int) -> None:
    known = {each.window for each in kept_of(windows)}
    assert len(known) <= MOST_READINGS
    assert known >= set(range(max(1, windows - 239), windows + 1))
    apart = 1
    while 2 * SLOTS_PER_LEVEL * apart < windows:
        apart *= 2
    assert known >= set(range(apart, windows + 1, apart))


def test_the_last_window_of_each_step_is_kept() -> None:
    known = {each.window for each in kept_of(50_000, {1_234: 2, 1_235: 3, 40_001: 4})}
    assert {1_233, 1_234, 40_000, 50_000} <= known


def test_later_windows_of_a_very_long_release_replace_the_first_ones() -> None:
    kept = kept_of(700_000)
    assert len({each.window for each in kept}) <= MOST_READINGS
    assert max(each.window for each in kept) == 700_000


@given(
    st.integers(1, 3_000),
    st.integers(2, 500),
    st.dictionaries(st.integers(2, 3_000), st.integers(2, 9), max_size=8),
)
def test_points_are_bounded_and_their_counts_add_up(
    windows: int, number: int, starts: dict[int, int]
) -> None:
    steps = {window: place for place, window in enumerate(sorted(starts), start=2)}
    kept = kept_of(windows, steps)
    random.Random(windows).shuffle(kept)
    found = points(kept, number, 0)

    assert 1 <= len(found) <= number
    assert found[-1].reading.window == windows
    assert [each.since_ms for each in found] == [0, *(each.reading.at_ms for each in found[:-1])]
    last = reading(windows)
    for arm in ("control", "treatment"):
        for name in ("outcomes", "errors", "failing"):
            parts = (getattr(getattr(each, arm), name) for each in found)
            assert sum(parts) == getattr(getattr(last, arm), name)


@pytest.mark.parametrize("number", [10, 500])
def test_counts_add_up_although_the_store_s_clock_has_gone_back(number: int) -> None:
    back_ms = 250 * INTERVAL_MS
    kept = [
        replace(each, at_ms=each.at_ms - back_ms) if each.window > 200 else each
        for each in (reading(window) for window in range(1, 301))
    ]
    found = points(kept, number, 0)

    assert len(found) <= number
    assert found[-1].reading.window == 300
    assert sum(each.control.errors for each in found) == reading(300).control.errors


@pytest.mark.parametrize("decides", [True, False])
def test_the_values_of_clients_are_in_a_reading_where_they_decide(decides: bool) -> None:
    evidence = ClientEvidence.DECIDE if decides else ClientEvidence.HOLD
    check = Check(metric=Metric.LATENCY, client_evidence=evidence)
    evaluated = EvaluatedRelease(replace(policy(10, 100), checks=(check,)))
    evaluated.window((90, 0), (10, 0))
    servers, clients = (
        (GroupValues(1, 1, "latency", ((bucket, number),), ((bucket, number),)),)
        for bucket, number in ((40, 100), (50, 100))
    )
    client = replace(initial_progress(evaluated.release), distribution_readings=clients)
    progress = replace(evaluated.progress, distribution_readings=servers, client=client)
    taken = take_reading(evaluated.release, progress, evaluated.last)

    assert taken is not None
    slowest = upper_bound(50 if decides else 40)
    assert taken.checks[0].control_quantile == slowest
    assert taken.checks[0].treatment_quantile == slowest


def test_points_are_spread_evenly_over_the_time() -> None:
    found = thin(kept_of(4_000), 100)
    apart = [later.window - earlier.window for earlier, later in pairwise(found)]
    assert 90 <= len(found) <= 100
    assert max(apart) <= 100
    assert thin(kept_of(50), 100) == [reading(window) for window in range(1, 51)]


def test_the_ends_of_steps_are_among_the_points() -> None:
    found = {each.window for each in thin(kept_of(4_000, {50: 2, 3_000: 3}), 10)}
    assert {49, 2_999, 4_000} <= found
