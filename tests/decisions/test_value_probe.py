from __future__ import annotations

from tidegate_server.decisions.value_probe import FIRES_AT, ValueProbe, update_value_probe
from tidegate_server.domain.checks import Check, Metric, Operator
from tidegate_server.domain.evidence import Histogram

LATENCY = Check(metric=Metric.LATENCY, quantile=0.95)
BASKET = Check(metric=Metric.CUSTOM, measure="basket", quantile=0.05, operator=Operator.AT_LEAST)
FROZEN = ValueProbe(cut=40)


def without_control(probe: ValueProbe, check: Check, values: Histogram) -> ValueProbe:
    return update_value_probe(probe, check, 99, values, enough_control=False)


def test_with_control_it_takes_the_cut_that_control_had_before_the_window() -> None:
    assert update_value_probe(ValueProbe(), LATENCY, 41, (), enough_control=True).cut == 41
    assert update_value_probe(FROZEN, LATENCY, 42, (), enough_control=True).cut == 42
    assert update_value_probe(FROZEN, LATENCY, None, (), enough_control=True).cut == 40


def test_without_control_the_cut_stays_as_it_was() -> None:
    assert without_control(FROZEN, LATENCY, ((50, 100),)).cut == 40


def test_five_windows_with_three_times_as_many_slow_operations_fire() -> None:
    probe = FROZEN
    for _ in range(FIRES_AT):
        assert not probe.fires
        probe = without_control(probe, LATENCY, ((40, 85), (41, 15)))

    assert probe.fires


def test_twice_as_many_slow_operations_do_not_fire() -> None:
    probe = FROZEN
    for _ in range(100):
        probe = without_control(probe, LATENCY, ((40, 90), (41, 10)))

    assert probe == FROZEN


def test_a_good_window_makes_up_for_a_bad_one() -> None:
    probe = FROZEN
    for _ in range(100):
        probe = without_control(probe, LATENCY, ((41, 100),))
        probe = without_control(probe, LATENCY, ((40, 100),))

    assert probe == FROZEN


def test_windows_with_few_values_change_nothing() -> None:
    bad = ValueProbe(cut=40, bad_windows=3)

    assert without_control(bad, LATENCY, ((90, 49),)) == bad
    assert without_control(bad, LATENCY, ((90, 50),)).bad_windows == 4


def test_without_a_cut_nothing_is_compared() -> None:
    assert without_control(ValueProbe(), LATENCY, ((90, 500),)) == ValueProbe()


def test_a_value_of_which_less_is_bad_is_compared_on_its_own_side() -> None:
    assert without_control(FROZEN, BASKET, ((39, 15), (45, 85))).bad_windows == 1
    assert without_control(FROZEN, BASKET, ((41, 100),)).bad_windows == 0


def test_control_ends_the_count() -> None:
    bad = ValueProbe(cut=40, bad_windows=5)

    assert update_value_probe(bad, LATENCY, 41, ((90, 500),), enough_control=True) == ValueProbe(41)
