"""A forecast rehearses the rest of a release."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from tidegate_server.decisions.progress import initial_progress
from tidegate_server.decisions.stage_gates import GateKind
from tidegate_server.domain.checks import ClientEvidence
from tidegate_server.domain.evidence import GroupCounts
from tidegate_server.domain.policy import DAY, Policy
from tidegate_server.domain.release import State
from tidegate_server.domain.release_gates import ApprovalGate
from tidegate_server.whatif.rehearsal import Rehearsal, present_traffic
from tidegate_server.whatif.release_forecast import ReleaseForecast, forecast_release
from tidegate_server.whatif.sampling import binomial, poisson

from tests.decisions.simulated_release import SEGMENT, EvaluatedRelease, policy

MINUTE = 60_000
HOUR = 60 * MINUTE
RAMP = policy(10, 50, 100, min_samples=100, min_duration_ms=10 * MINUTE, bake_ms=HOUR)


class ObservedRelease(EvaluatedRelease):
    """A release with the totals that the policy job reads."""

    def run(self, windows: int, dice: random.Random, per_window: float, ratio: float = 1.0) -> None:
        """Evaluate random windows with one failure in a hundred operations."""
        for _ in range(windows):
            if self.release.state not in (State.RUNNING, State.BAKING):
                return
            self.random_window(dice, per_window, ratio)

    def random_window(self, dice: random.Random, per_window: float, ratio: float = 1.0) -> None:
        share = self.release.policy.opened(self.release.stage) / 100
        operations = poisson(dice, per_window)
        treated = binomial(dice, operations, share)
        arms = []
        for ended, rate in ((operations - treated, 0.01), (treated, 0.01 * ratio)):
            arms.append((ended, binomial(dice, ended, rate)))
        step, stage = self.release.step, self.release.stage
        self.window(arms[0], arms[1])
        moved = self.release.step != step
        counts = GroupCounts(
            step, stage, self.progress.stage_control, self.progress.stage_treatment
        )
        readings = () if moved else (counts,)
        self.progress = replace(self.progress, readings=readings)

    def forecast(self, **options: object) -> ReleaseForecast:
        return forecast_release(
            self.release,
            self.progress,
            lambda number: random.Random(number),
            **options,  # type: ignore[arg-type]
        )


def observed(
    by: Policy = RAMP, *, windows: int = 6, per_window: float = 1_000, ratio: float = 1.0
) -> ObservedRelease:
    release = ObservedRelease(by)
    release.run(windows, random.Random(1), per_window, ratio)
    return release


def test_the_stages_of_a_healthy_release_come_in_their_order() -> None:
    made = observed().forecast()
    assert made.reason == ""
    assert made.rehearsals == 60
    assert made.operations_per_minute == pytest.approx(2_000, rel=0.05)
    assert made.next_stage is not None
    assert made.full is not None
    assert made.completed is not None
    for time in (made.next_stage, made.full, made.completed):
        assert time.early_ms is not None
        assert time.median_ms is not None
        assert time.late_ms is None or time.early_ms <= time.median_ms <= time.late_ms
    assert made.next_stage.early_ms is not None
    assert made.next_stage.early_ms >= 10 * MINUTE
    assert made.next_stage.median_ms is not None
    assert made.full.median_ms is not None
    assert made.completed.median_ms is not None
    assert made.next_stage.median_ms < made.full.median_ms
    assert made.full.median_ms + HOUR <= made.completed.median_ms
    assert made.assumptions == ("traffic and failures stay as they are in this stage",)


def test_forecasts_hold_what_then_happens() -> None:
    """Nine in ten releases should come later than early, and nine in ten before late.

    The range thus misses 20 % of 12; more than 8 have a probability of 6e-5 (binomial).
    """
    inside = releases = 0
    for seed in range(12):
        dice = random.Random(seed)
        release = ObservedRelease(RAMP)
        release.run(10, dice, 400)
        made = release.forecast(rehearsals=20, horizon_ms=2 * HOUR)
        if made.next_stage is None or made.next_stage.early_ms is None:
            continue
        for _ in range(2_000):
            if release.release.stage > 1 or release.release.state is State.ROLLED_BACK:
                break
            release.random_window(dice, 400)
        releases += 1
        late = made.next_stage.late_ms
        came = release.progress.evaluated_ms
        inside += (
            release.release.stage > 1
            and made.next_stage.early_ms <= came + MINUTE
            and (late is None or came <= late + MINUTE)
        )
    assert releases >= 10
    assert inside >= releases - 8


def test_clients_whose_reports_decide_are_traffic() -> None:
    by = replace(RAMP, checks=(replace(RAMP.checks[0], client_evidence=ClientEvidence.DECIDE),))
    release = observed(by)
    by_servers = release.forecast(rehearsals=5)
    clients = replace(initial_progress(release.release), readings=release.progress.readings)
    release.progress = replace(release.progress, readings=(), client=clients)
    assert by_servers.rehearsals == 5
    assert release.forecast(rehearsals=5) == by_servers

    release.release = replace(release.release, policy=RAMP)
    assert release.forecast().reason == "no operation has ended in this stage"


def test_more_traffic_comes_sooner() -> None:
    slow = observed(per_window=100).forecast().next_stage
    fast = observed(per_window=5_000).forecast().next_stage
    assert slow is not None
    assert fast is not None
    assert fast.median_ms is not None
    assert slow.median_ms is None or fast.median_ms < slow.median_ms


def test_a_harmful_release_is_forecast_to_be_stopped() -> None:
    cautious = policy(10, 50, 100, false_alarm=1e-9)
    made = observed(cautious, ratio=3.0, windows=8).forecast()
    assert made.stopped > 0.5


def test_what_is_in_the_way_is_named_when_the_next_stage_does_not_come() -> None:
    by = policy(10, 100, min_samples=10**9, min_duration_ms=MINUTE)
    made = observed(by).forecast(horizon_ms=3 * DAY)
    assert made.next_stage is not None
    assert (made.next_stage.reached, made.next_stage.median_ms) == (0.0, None)
    assert made.until_ms == made.made_ms + 3 * DAY
    named = {(each.kind, each.arm): each.share for each in made.obstacles}
    assert named[GateKind.SAMPLES, "treatment"] == pytest.approx(1.0 - made.stopped)


def test_a_forecast_that_runs_out_of_time_looks_less_far_ahead() -> None:
    release = observed()
    steps = iter(range(10**9))
    made = release.forecast(rehearsals=10, is_over=lambda: next(steps) > 60)
    assert made.made_ms < made.until_ms < made.made_ms + HOUR
    assert made.completed is not None
    assert made.completed.median_ms is None
    first_look = release.forecast(rehearsals=10, is_over=lambda: True)
    assert first_look.until_ms == first_look.made_ms + MINUTE
    assert (first_look.rehearsals, first_look.reason) == (10, "")


def test_the_last_stage_has_no_next_one() -> None:
    release = observed(policy(10, 100, bake_ms=HOUR), windows=0)
    dice = random.Random(1)
    while release.release.stage == 1:
        release.run(1, dice, 1_000)
    release.run(5, dice, 1_000)
    assert release.release.state is State.BAKING
    made = release.forecast()
    assert made.next_stage is None
    assert made.full is not None
    assert made.full.reached == 1.0
    assert made.completed is not None
    assert made.completed.median_ms is not None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"state": State.PAUSED}, "the release is paused; a person resumes it"),
        ({"state": State.KILLED}, "the flag is killed; a person restores it"),
        ({"state": State.COMPLETED}, "the release has ended"),
        ({"state": State.DRAFT, "closed": True}, "the release is a draft; a person begins it"),
        (
            {"state": State.COOLDOWN, "closed": True},
            "the release is in a cooldown, in which nothing is open",
        ),
    ],
)
def test_a_release_that_waits_for_something_else_has_no_forecast(
    changes: dict[str, object], reason: str
) -> None:
    release = observed()
    release.release = replace(release.release, **changes)  # type: ignore[arg-type]
    made = release.forecast()
    assert (made.rehearsals, made.next_stage, made.reason) == (0, None, reason)


def test_a_silent_or_new_stage_has_no_forecast() -> None:
    release = observed(windows=1)
    assert release.forecast().reason == "the stage has too little data to know its traffic"
    release = observed()
    for _ in range(25):
        release.window()
    assert release.forecast().reason == "no operations end at present"


def test_it_says_what_it_supposes() -> None:
    first = replace(RAMP.stages[0], approval=ApprovalGate(count=1))
    by = replace(RAMP, stages=(first, *RAMP.stages[1:]))
    made = observed(by).forecast(rehearsals=5)
    assert "people approve at once" in made.assumptions
    segments = policy(10, 50, 100, segments={1: (SEGMENT,)})
    release = observed(segments)
    assert any("5 % of the users" in each for each in release.forecast(rehearsals=5).assumptions)
    traffic = present_traffic(release.release, release.progress)
    assert traffic is not None
    assert dict(traffic.pace)[""] == pytest.approx(19 * dict(traffic.pace)[SEGMENT])


def test_a_rehearsal_starts_from_the_present_state() -> None:
    release = observed()
    traffic = present_traffic(release.release, release.progress)
    assert traffic is not None
    run = Rehearsal(release.release, release.progress, traffic, random.Random(1))
    run.run_until(release.progress.evaluated_ms + 2 * MINUTE)
    assert run.progress.windows > release.progress.windows
    assert run.progress.stage_treatment.outcomes > release.progress.stage_treatment.outcomes
    assert run.progress.evaluated_ms == release.progress.evaluated_ms + 2 * MINUTE
