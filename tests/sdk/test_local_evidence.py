"""The local evidence closes harmful releases, and harmless ones only very rarely."""

from __future__ import annotations

import random
from dataclasses import replace
from math import sqrt

import pytest
from tidegate.counts import Counts
from tidegate.epochs import BLOCK
from tidegate.evaluation.results import Arm
from tidegate.harm_evidence import epoch_false_alarm
from tidegate.local_evidence import (
    FALSE_ALARM,
    LEAST_FAILING,
    OutageEvidence,
    Trip,
    watched_releases,
)
from tidegate.model import ActiveRelease, Opening, Tolerance
from tidegate.reporting import Group

TENTH = (Opening(1, 10.0),)
RELEASE = ActiveRelease("rel_1", "off", "on", "rel_1", 1, 4, TENTH, 5.0, local_breaker=Tolerance())


class Process:
    """A process in an outage, whose users are counted window by window."""

    def __init__(
        self, release: ActiveRelease = RELEASE, spent: dict[str, int] | None = None
    ) -> None:
        self.release = release
        self.ended: dict[Group, tuple[int, int]] = {}
        self.spent = {} if spent is None else spent
        self.outage = OutageEvidence({"checkout": release}, self.ended, self.spent)
        self.users = 0

    def window(
        self, control: tuple[int, int], treatment: tuple[int, int], *, stratum: int = 1
    ) -> list[Trip]:
        """Add a window with operations that ended and users who failed, for each arm."""
        group = (self.release.id, self.release.step, stratum)
        before = self.ended.get(group, (0, 0))
        self.ended[group] = before[0] + control[0], before[1] + treatment[0]
        arms: dict[Arm, int] = {"control": control[1], "treatment": treatment[1]}
        failed = {(group, arm): self.new_users(number) for arm, number in arms.items()}
        return self.outage.add_window(self.ended, failed)

    def new_users(self, number: int) -> list[str]:
        """Return users who did not fail before."""
        self.users += number
        return [f"{self.users - each:016x}" for each in range(number)]


def test_a_treatment_that_always_fails_is_closed_after_the_first_window() -> None:
    assert Process().window((90, 0), (10, 10)) == [
        Trip(
            "checkout",
            "rel_1",
            Counts(outcomes=90),
            Counts(outcomes=10, errors=10, failing=10),
        )
    ]


def test_a_release_is_closed_once() -> None:
    process = Process()
    assert process.window((90, 0), (10, 10))
    assert not process.window((90, 0), (10, 10))


def test_a_trip_has_the_counts_of_the_whole_outage() -> None:
    process = Process()
    assert not process.window((90, 1), (10, 2))
    (trip,) = process.window((90, 0), (10, 9))
    assert (trip.control, trip.treatment) == (
        Counts(outcomes=180, errors=1, failing=1),
        Counts(outcomes=20, errors=11, failing=11),
    )


def test_a_few_failing_users_are_not_enough_however_unlikely_they_are() -> None:
    rare = replace(RELEASE, openings=(Opening(1, 0.1),))
    process = Process(rare)
    assert not process.window((9_990, 0), (10, LEAST_FAILING - 1))
    assert process.window((9_990, 0), (10, 1))


def test_equal_failures_in_both_arms_do_not_close_a_release() -> None:
    process = Process()
    assert not any(process.window((90, 45), (10, 5)) for _ in range(100))


def test_failures_within_the_tolerance_do_not_close_a_release() -> None:
    strict, lax = Process(), Process(replace(RELEASE, local_breaker=Tolerance(4.0, 0.0)))
    assert any(strict.window((900, 18), (100, 8)) for _ in range(20))
    assert not any(lax.window((900, 18), (100, 8)) for _ in range(20))
    absolute = Process(replace(RELEASE, local_breaker=Tolerance(0.0, 0.08)))
    assert not any(absolute.window((900, 18), (100, 8)) for _ in range(20))


def test_a_user_who_fails_again_is_no_new_evidence() -> None:
    process = Process()
    group = ("rel_1", 4, 1)
    for window in range(1, 50):
        process.ended[group] = 90 * window, 10 * window
        failed: dict[tuple[Group, Arm], list[str]] = {(group, "treatment"): ["a" * 16, "b" * 16]}
        assert not process.outage.add_window(process.ended, failed)


def test_strata_without_a_control_group_are_no_evidence() -> None:
    both = replace(RELEASE, openings=(Opening(1, 100.0, ("staff",)), Opening(2, 10.0)))
    process = Process(both)
    assert not process.window((0, 0), (50, 50), stratum=1)
    assert process.window((90, 0), (10, 10), stratum=2)


def test_counts_of_another_step_or_release_are_no_evidence() -> None:
    process = Process()
    for group in (("rel_1", 3, 1), ("rel_2", 4, 1)):
        process.ended[group] = 90, 10
        failed: dict[tuple[Group, Arm], list[str]] = {(group, "treatment"): process.new_users(10)}
        assert not process.outage.add_window(process.ended, failed)


def test_counts_from_before_the_outage_are_no_evidence() -> None:
    ended = {("rel_1", 4, 1): (900, 100)}
    outage = OutageEvidence({"checkout": RELEASE}, ended, {})
    failed: dict[tuple[Group, Arm], list[str]] = {
        (("rel_1", 4, 1), "treatment"): [f"{number:016x}" for number in range(20)]
    }
    (trip,) = outage.add_window({("rel_1", 4, 1): (990, 110)}, failed)
    assert (trip.control.outcomes, trip.treatment.outcomes) == (90, 10)


def test_only_releases_that_allow_it_and_have_a_control_group_are_watched() -> None:
    assert watched_releases(
        {
            "a": RELEASE,
            "b": replace(RELEASE, local_breaker=None),
            "c": replace(RELEASE, openings=(Opening(1, 100.0),)),
            "d": replace(RELEASE, openings=()),
        }
    ) == {"a": RELEASE}


CONTROL: tuple[Group, Arm] = ("rel_1", 4, 1), "control"


def fail_again(process: Process, users: list[str]) -> None:
    """Close a window in which these users of the control fail."""
    failed: dict[tuple[Group, Arm], list[str]] = {CONTROL: users}
    assert not process.outage.add_window(process.ended, failed)


def saturate(process: Process) -> list[str]:
    """End an epoch: the users of the control who can fail have failed; return them."""
    for _ in range(2):
        process.window((900, BLOCK), (100, 0))
    users = [f"{process.users - each:016x}" for each in range(BLOCK)]
    fail_again(process, users)
    return users


def test_each_outage_and_each_epoch_spends_a_part_of_the_budget() -> None:
    epochs: dict[str, int] = {}
    process = Process(spent=epochs)
    saturate(process)
    assert epochs == {"rel_1": 1}
    process.window((90, 1), (10, 0))
    assert epochs == {"rel_1": 2}
    Process(spent=epochs).window((90, 1), (10, 0))
    assert epochs == {"rel_1": 3}
    used = sum(epoch_false_alarm(FALSE_ALARM, epoch=k) for k in range(1, 10_000))
    assert used <= FALSE_ALARM


def test_epochs_do_not_end_with_time_or_by_the_failures_of_the_treatment() -> None:
    epochs: dict[str, int] = {}
    process = Process(spent=epochs)
    again: dict[tuple[Group, Arm], list[str]] = {(CONTROL[0], "treatment"): ["a" * 16] * BLOCK}
    for _ in range(1_000):
        process.outage.add_window(process.ended, again)
    assert epochs == {"rel_1": 1}


def test_the_guard_outlives_an_epoch() -> None:
    process = Process()
    for number in range(10):
        process.window((90, 12 * (number % 2) + 1), (10, 1 - number % 2))
    (evidence,) = process.outage._releases
    wobble = evidence._evidence.guard.wobble
    assert wobble > 0.0
    saturate(process)
    assert not evidence._evidence.bets
    assert evidence._evidence.guard.wobble == pytest.approx(wobble, rel=0.5)


def test_an_outage_shorter_than_a_window_spends_nothing() -> None:
    spent: dict[str, int] = {}
    for _ in range(1_000):
        Process(spent=spent)
    assert Process(spent=spent).window((90, 0), (10, 10))
    assert spent == {"rel_1": 1}


def test_a_user_who_failed_in_an_earlier_epoch_counts_again() -> None:
    process = Process()
    users = saturate(process)
    (evidence,) = process.outage._releases
    assert evidence._control.failing == 2 * BLOCK
    fail_again(process, users[:4])
    assert evidence._control.failing == 2 * BLOCK + 4


@pytest.mark.parametrize(("share", "rate"), [(1.0, 0.3), (10.0, 0.02), (50.0, 0.1)])
def test_a_harmless_release_is_closed_only_with_the_promised_probability(
    share: float, rate: float
) -> None:
    """By Ville's inequality at most a share of ``FALSE_ALARM`` of the processes closes it.

    The bound below is three standard deviations above that.
    """
    random_ = random.Random(20 + int(share))
    processes, closed = 200, 0
    for _ in range(processes):
        process = Process(replace(RELEASE, openings=(Opening(1, share),)))
        for _ in range(80):
            treated = sum(random_.random() < share / 100 for _ in range(20))
            failed = [
                sum(random_.random() < rate for _ in range(number))
                for number in (20 - treated, treated)
            ]
            if process.window((20 - treated, failed[0]), (treated, failed[1])):
                closed += 1
                break
    promised = processes * FALSE_ALARM
    assert closed <= promised + 3 * sqrt(promised)


def test_a_treatment_that_fails_five_times_as_often_is_closed_soon() -> None:
    random_ = random.Random(7)
    windows = []
    for _ in range(60):
        process = Process(replace(RELEASE, openings=(Opening(1, 25.0),)))
        window = 0
        while window < 399:
            window += 1
            control = sum(random_.random() < 0.02 for _ in range(75))
            treatment = sum(random_.random() < 0.1 for _ in range(25))
            if process.window((75, control), (25, treatment)):
                break
        windows.append(window)
    assert sorted(windows)[len(windows) // 2] <= 20
    assert max(windows) < 399
