"""What a release says it would have noticed by now."""

from __future__ import annotations

from dataclasses import replace

from tidegate_server.decisions.decision import Action
from tidegate_server.decisions.present_progress import present_progress
from tidegate_server.domain.policy import MINUTE, Undecided
from tidegate_server.domain.release import Basis

from tests.decisions.simulated_release import EvaluatedRelease, policy


def test_the_detectable_ratio_falls_and_is_said_when_a_stage_is_left_on_time() -> None:
    plain = policy(10, 50, 100, min_samples=10**6)
    first = replace(plain.stages[0], max_duration_ms=10 * MINUTE, undecided=Undecided.ADVANCE)
    evaluated = EvaluatedRelease(replace(plain, stages=(first, *plain.stages[1:])), statistics=2)
    assert present_progress(evaluated.release, evaluated.progress).detectable_ratio is None
    ratios = []
    while evaluated.window((900, 9), (100, 1)).action is not Action.ADVANCE:
        shown = present_progress(evaluated.release, evaluated.progress)
        assert shown.detectable_ratio == evaluated.last.detectable_ratio
        ratios.append(shown.detectable_ratio or 1_000.0)

    assert ratios == sorted(ratios, reverse=True)
    assert 1.05 < ratios[-1] < 5 < ratios[0]
    assert evaluated.last.basis is Basis.TIME
    noticed = evaluated.last.detectable_ratio
    assert noticed is not None
    said = f"errors {noticed:.1f} times as frequent would have been noticed, less might not"
    assert said in evaluated.last.reason
