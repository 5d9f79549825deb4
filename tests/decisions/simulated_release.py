"""A simulated release: users, operations and failures, without a store or a clock.

Every user has a bucket and a segment; a window's operations are drawn from them, and
users who fail for the first time are counted as in the store.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from tidegate.counts import Counts, StratumCounts
from tidegate.model import Tolerance
from tidegate_server.decisions.apply_decision import apply_decision
from tidegate_server.decisions.decide import decide
from tidegate_server.decisions.decision import Action, Decision
from tidegate_server.decisions.exposure_groups import present_shares, stage_shares
from tidegate_server.decisions.observations import Window
from tidegate_server.decisions.progress import initial_progress
from tidegate_server.domain.checks import Check
from tidegate_server.domain.policy import NoData, Policy, Stage
from tidegate_server.domain.release import STATISTICS, Release, State

SEGMENT = "logged-out"


def policy(
    *percentages: float,
    interval_ms: int = 30_000,
    bake_ms: int = 60_000,
    min_samples: int = 0,
    min_duration_ms: int = 0,
    relative: float = 0.1,
    absolute: float = 0.0,
    false_alarm: float = 0.01,
    segments: dict[int, tuple[str, ...]] | None = None,
) -> Policy:
    """A policy whose stages open these percentages; ``segments`` by stage number."""
    return Policy(
        "ramp",
        tuple(
            Stage(
                f"stage-{number}",
                percentage,
                (segments or {}).get(number, ()),
                min_duration_ms,
                min_samples,
            )
            for number, percentage in enumerate(percentages, start=1)
        ),
        checks=(Check(Tolerance(relative, absolute), false_alarm),),
        no_data=NoData(),
        interval_ms=interval_ms,
        bake_ms=bake_ms,
    )


def release(by: Policy, **changes: object) -> Release:
    """A release at the first window of its first stage, at time 0."""
    fresh = Release(
        id="rel_1",
        flag="checkout",
        rule=None,
        control="off",
        treatment="on",
        salt="checkout",
        policy=by,
        policy_revision=1,
        state=State.BAKING if len(by.stages) == 1 else State.RUNNING,
        stage=1,
        step=1,
        reason="",
        started_by="dana",
        started_ms=0,
        stage_entered_ms=0,
        updated_ms=0,
        statistics=STATISTICS,
    )
    return replace(fresh, **changes)  # type: ignore[arg-type]


def window_of(
    subject: Release,
    control: tuple[int, int] | dict[int, tuple[int, int]] = (0, 0),
    treatment: tuple[int, int] | dict[int, tuple[int, int]] = (0, 0),
    *,
    control_errors: int | None = None,
    treatment_errors: int | None = None,
    **changes: object,
) -> Window:
    """Return a window of a release with (operations, failing users) of each arm.

    A pair belongs to the newest stratum; a dict has the pairs of several strata. Every failing
    user fails once, unless the errors in the newest stratum are given.
    """
    strata = present_shares(subject)
    newest = max(strata)
    controls = control if isinstance(control, dict) else {newest: control}
    treated = treatment if isinstance(treatment, dict) else {newest: treatment}
    window = Window(
        opened_ms=0,
        closed_ms=0,
        step=subject.step,
        strata=tuple(
            StratumCounts(
                stratum,
                share,
                _arm(controls.get(stratum, (0, 0)), control_errors),
                _arm(treated.get(stratum, (0, 0)), treatment_errors),
            )
            for stratum, share in sorted(strata.items())
        ),
    )
    return replace(window, **changes)  # type: ignore[arg-type]


def arms(
    share: float, control: tuple[int, int], treatment: tuple[int, int], stratum: int = 1
) -> StratumCounts:
    """Return the counts of a stratum with (operations, failing users) of each arm."""
    return StratumCounts(stratum, share, _arm(control), _arm(treatment))


def _arm(counts: tuple[int, int], errors: int | None = None) -> Counts:
    operations, failing = counts
    return Counts(
        operations, operations, failing if errors is None else errors, failing, sampled=operations
    )


class EvaluatedRelease:
    """A release that is evaluated window by window and carries out its decisions."""

    def __init__(self, by: Policy, **changes: object) -> None:
        self.release = release(by, **changes)
        self.progress = initial_progress(self.release)
        self.decision: Decision | None = None

    @property
    def last(self) -> Decision:
        """The last decision."""
        assert self.decision is not None
        return self.decision

    def window(
        self,
        control: tuple[int, int] | dict[int, tuple[int, int]] = (0, 0),
        treatment: tuple[int, int] | dict[int, tuple[int, int]] = (0, 0),
        after_ms: int | None = None,
        **changes: object,
    ) -> Decision:
        """Close a window with these counts, one interval (or ``after_ms``) after the last."""
        opened = self.progress.evaluated_ms
        now = opened + (self.release.policy.interval_ms if after_ms is None else after_ms)
        window = window_of(
            self.release,
            control,
            treatment,
            **{  # type: ignore[arg-type]
                "opened_ms": opened,
                "closed_ms": now,
                "generation": self.progress.generation,
                **changes,
            },
        )
        self.progress, self.decision = decide(self.release, self.progress, window, now)
        self.release = apply_decision(self.release, self.decision)
        return self.decision

    def until(
        self,
        action: Action,
        control: tuple[int, int],
        treatment: tuple[int, int],
        most: int = 300,
    ) -> int:
        """Repeat a window until it leads to ``action``; return the number of windows."""
        for number in range(1, most + 1):
            if self.window(control, treatment).action is action:
                return number
        raise AssertionError(f"no {action} in {most} windows: {self.last.reason}")


@dataclass(frozen=True)
class Outcome:
    """How a simulated release ended."""

    state: State
    windows: int
    window_of_full: int | None
    failed_treated: int
    retreats: int
    decisions: tuple[Decision, ...]


@dataclass(frozen=True)
class Traffic:
    """Who uses the application.

    ``base`` and ``times`` give, for a window, the failures per operation of control and how
    many times worse the treatment is. The first ``heavy`` users always fail.
    """

    users: int = 20_000
    per_window: float = 2_000
    base: Callable[[int], float] = lambda window: 0.01
    times: Callable[[int], float] = lambda window: 1.0
    segment_share: float = 0.6
    heavy: int = 0
    activity: float = 0.0  # sigma of the users' log-normal activity


def simulate(
    by: Policy, traffic: Traffic, seed: int, most_windows: int = 400, stop_at_full: bool = False
) -> Outcome:
    """Run one release to its end, or for ``most_windows``."""
    dice = random.Random(seed)
    buckets = [dice.randrange(100_000) for _ in range(traffic.users)]
    inside = [dice.random() < traffic.segment_share for _ in range(traffic.users)]
    weights = None
    if traffic.activity:
        weights = []
        running = 0.0
        for _ in range(traffic.users):
            running += dice.lognormvariate(0.0, traffic.activity)
            weights.append(running)
    subject = release(by)
    progress = initial_progress(subject)
    failing: set[int] = set()
    generation = 0
    decisions = []
    full = None
    failed_treated = 0
    everyone = range(traffic.users)
    for number in range(1, most_windows + 1):
        now = number * by.interval_ms
        cells = {
            stratum: {True: [0, 0, 0], False: [0, 0, 0]}
            for stratum in stage_shares(by, subject.stage)
        }
        stages = sorted(((by.stages[s - 1].percentage * 1000, -s) for s in cells), reverse=True)
        base = traffic.base(number)
        bad = base * traffic.times(number)
        amount = max(0, round(dice.gauss(traffic.per_window, traffic.per_window**0.5)))
        for user in dice.choices(everyone, cum_weights=weights, k=amount):
            for limit, negative in stages:
                if not by.stages[-negative - 1].segments or inside[user]:
                    arm = buckets[user] < limit
                    failed = user < traffic.heavy or dice.random() < (bad if arm else base)
                    cell = cells[-negative][arm]
                    cell[0] += 1
                    if failed:
                        cell[1] += 1
                        failed_treated += arm
                        if user not in failing:
                            failing.add(user)
                            cell[2] += 1
                    break
        window = Window(
            opened_ms=now - by.interval_ms,
            closed_ms=now,
            step=subject.step,
            strata=tuple(
                StratumCounts(
                    stratum,
                    stage_shares(by, subject.stage)[stratum],
                    *(Counts(c[0], c[0], c[1], c[2]) for c in (arms[False], arms[True])),
                )
                for stratum, arms in sorted(cells.items())
            ),
            generation=generation,
        )
        progress, decision = decide(subject, progress, window, now)
        decisions.append(decision)
        if progress.generation != generation:
            generation = progress.generation
            failing.clear()
        subject = apply_decision(subject, decision)
        if subject.stage == len(by.stages) and full is None:
            full = number
            if stop_at_full:
                break
        if decision.action in (Action.ROLLBACK, Action.COMPLETE):
            break
    return Outcome(
        subject.state, number, full, failed_treated, progress.probe.retreats, tuple(decisions)
    )
