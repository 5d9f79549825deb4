from __future__ import annotations

import pytest
from tidegate.counts import Counts, StratumCounts
from tidegate_server.decisions.probe import FIRES_AT, Probe, count_retreat, update_probe


def strata(
    share: float, control: tuple[int, int], treatment: tuple[int, int]
) -> list[StratumCounts]:
    arms = (Counts(outcomes=n, failing=e) for n, e in (control, treatment))
    return [StratumCounts(1, share, *arms)]


def learned(rate: float) -> Probe:
    probe = Probe()
    for _ in range(60):
        probe = update_probe(probe, strata(0.5, (1_000, round(1_000 * rate)), (1_000, 10)))
    return probe


def test_it_learns_the_control_rate_while_there_is_a_control_group() -> None:
    assert learned(0.02).rate == pytest.approx(0.02, rel=0.05)
    assert learned(0.02).excess == 0.0


def test_it_does_not_fire_at_the_last_known_rate_and_a_little_above() -> None:
    probe = learned(0.01)
    for _ in range(500):
        probe = update_probe(probe, strata(1.0, (0, 0), (2_000, 25)))

    assert probe.excess < FIRES_AT


@pytest.mark.parametrize("share", [0.95, 1.0])
def test_it_fires_soon_after_the_rate_has_tripled_also_beside_a_small_control_group(
    share: float,
) -> None:
    probe = learned(0.01)
    known, windows = probe.rate, 0
    while probe.excess < FIRES_AT:
        probe = update_probe(probe, strata(share, (100, 3), (2_000, 60)))
        windows += 1

    assert windows <= 2
    assert probe.rate == known


def test_it_does_not_fire_if_there_was_never_enough_control() -> None:
    assert update_probe(Probe(), strata(1.0, (0, 0), (2_000, 2_000))) == Probe()
    assert update_probe(Probe(), strata(0.95, (100, 1), (2_000, 2_000))) == Probe()


def test_windows_without_operations_change_nothing() -> None:
    probe = learned(0.01)

    assert update_probe(probe, strata(1.0, (0, 0), (0, 0))) == probe


def test_its_memory_fades_with_the_failures_of_control_and_not_with_time() -> None:
    probe = learned(0.01)
    quiet = probe
    for _ in range(1_000):
        quiet = update_probe(quiet, strata(0.5, (0, 0), (0, 0)))

    assert quiet == probe


def test_a_control_group_clears_the_excess_and_keeps_the_number_of_retreats() -> None:
    alarmed = Probe(excess=9.0, retreats=2, seen=True)
    after = update_probe(alarmed, strata(0.5, (100, 1), (100, 1)))

    assert (after.excess, after.retreats) == (0.0, 2)


def test_a_retreat_clears_the_excess_and_counts() -> None:
    after = count_retreat(Probe(excess=9.0, retreats=1, seen=True))

    assert (after.excess, after.retreats) == (0.0, 2)


def test_failures_that_are_reported_before_their_operations_leave_a_finite_rate() -> None:
    probe = update_probe(Probe(), strata(0.5, (0, 10**6), (0, 0)))

    assert 0.0 < probe.rate <= 0.5
