from __future__ import annotations

from tidegate.counts import Counts, StratumCounts
from tidegate_server.decisions.observations import Window
from tidegate_server.decisions.probe import Probe
from tidegate_server.decisions.version_1.probe import FIRES_AT, update_probe


def window(share: float, control: tuple[int, int], treatment: tuple[int, int]) -> Window:
    arms = (Counts(outcomes=n, failing=e) for n, e in (control, treatment))
    return Window(0, 1, 1, (StratumCounts(1, share, *arms),))


def learned(rate: float) -> Probe:
    probe = Probe()
    for _ in range(60):
        probe = update_probe(probe, window(0.5, (1_000, round(1_000 * rate)), (1_000, 10)))
    return probe


def test_it_learns_the_control_rate_while_there_is_a_control_group() -> None:
    assert abs(learned(0.02).rate - 0.02) < 1e-3
    assert learned(0.02).excess == 0.0


def test_it_does_not_fire_at_the_last_known_rate_and_a_little_above() -> None:
    probe = learned(0.01)
    for _ in range(500):
        probe = update_probe(probe, window(1.0, (0, 0), (2_000, 25)))

    assert probe.excess < FIRES_AT


def test_it_fires_soon_after_the_rate_has_tripled() -> None:
    probe = learned(0.01)
    windows = 0
    while probe.excess < FIRES_AT:
        probe = update_probe(probe, window(1.0, (0, 0), (2_000, 60)))
        windows += 1

    assert windows <= 2


def test_it_does_not_fire_if_there_was_never_a_control_group() -> None:
    assert update_probe(Probe(), window(1.0, (0, 0), (2_000, 2_000))) == Probe()


def test_windows_without_operations_change_nothing() -> None:
    probe = learned(0.01)

    assert update_probe(probe, window(1.0, (0, 0), (0, 0))) == probe


def test_a_control_group_clears_the_excess_and_keeps_the_number_of_retreats() -> None:
    alarmed = Probe(excess=9.0, retreats=2, seen=True)
    after = update_probe(alarmed, window(0.5, (100, 1), (100, 1)))

    assert (after.excess, after.retreats) == (0.0, 2)
