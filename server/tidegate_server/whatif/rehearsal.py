"""Rehearses the rest of a release: how it may go on from its present state.

The decisions are made by the same functions as in the policy job; only the counts are drawn: from
the traffic and control's failures of the present stage, and from the treatment's failures since the
release started. People approve at once, webhooks confirm, and Prometheus reports what it reported
last. Every user's failure counts as the user's first.

The farther a rehearsal looks ahead, the longer are its windows: a fiftieth of the time since its
beginning. So the error in a time is about two percent, and a month takes some four hundred windows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from tidegate.counts import Counts, StratumCounts

from tidegate_server.decisions.apply_decision import apply_decision
from tidegate_server.decisions.client_reports import deciding_counts, deciding_values
from tidegate_server.decisions.decide import decide
from tidegate_server.decisions.decision import Action
from tidegate_server.decisions.observations import Answer, Distribution, Measured, Window
from tidegate_server.decisions.progress import Progress
from tidegate_server.domain.checks import Check, Compare, Metric
from tidegate_server.domain.evidence import Histogram, add_histograms, histogram_size
from tidegate_server.domain.release import LIVE_STATES, Release, State
from tidegate_server.domain.snapshot import present_openings
from tidegate_server.whatif.counterfactual import gamma_quantile
from tidegate_server.whatif.sampling import RandomGenerator, binomial, multinomial, poisson
from tidegate_server.whatif.simulation import STOPPING, approve_fully
from tidegate_server.whatif.traffic_model import DEFAULT_SEGMENT_SHARE
from tidegate_server.whatif.user_population import widest_opening

PARTS = 50
"""A window is at least the time since the beginning divided by this."""

PRIOR_FAILURES = 10.0
"""The weight, as a number of failures, of the belief that the treatment fails as often as control.

Without it a release would be forecast to roll back because its first user failed.
"""

CONTROL_PRIOR = (0.5, 50.0)
"""Failures and operations that are added to control's, so that its rate is never 0."""


@dataclass(frozen=True, slots=True)
class PresentTraffic:
    """The traffic of the present stage.

    Attributes:
        pace: operations a millisecond of the users of each segment; ``""``: everyone else.
        guessed: whether everyone's traffic is guessed, since only segments are open.
        failing, operations: of control, in the present stage where both arms are open.
        treated_failing, treated_expected: users who failed with the treatment since the release
            started, and how many of them control's rate explains.
        values: for each measure the values of control and of the treatment.
    """

    pace: tuple[tuple[str, float], ...]
    guessed: bool
    failing: int
    operations: int
    treated_failing: int
    treated_expected: float
    values: tuple[tuple[str, Histogram, Histogram], ...]

    @property
    def operations_per_minute(self) -> float:
        """Operations a minute, of all users."""
        return 60_000.0 * math.fsum(pace for _, pace in self.pace)


def present_traffic(release: Release, progress: Progress) -> PresentTraffic | None:
    """Return the traffic of the present stage; None: nothing has ended in it yet.

    Args:
        release: as it is now.
        progress: its progress, which follows the release.
    """
    elapsed_ms = progress.evaluated_ms - release.stage_entered_ms
    if elapsed_ms <= 0:
        return None
    counted: Counter[int] = Counter()
    for each in deciding_counts(release.policy, progress):
        if each.step == release.step:
            counted[each.stratum] += each.control.outcomes + each.treatment.outcomes
    pace: dict[str, float] = {}
    everyone_is_open = False
    for opening in present_openings(release):
        mine = counted[opening.stage] / elapsed_ms
        for segment in opening.segments or ("",):
            pace[segment] = pace.get(segment, 0.0) + mine / max(1, len(opening.segments))
        everyone_is_open |= not opening.segments
    total = math.fsum(pace.values())
    if total <= 0.0:
        return None
    if not everyone_is_open:
        pace[""] = total * (1.0 - DEFAULT_SEGMENT_SHARE) / DEFAULT_SEGMENT_SHARE
    for segment in sorted(release.policy.segments - pace.keys()):
        pace[segment] = pace[""] * DEFAULT_SEGMENT_SHARE
        pace[""] -= pace[segment]
    values = deciding_values(release.policy, progress)
    return PresentTraffic(
        pace=tuple(pace.items()),
        guessed=not everyone_is_open,
        failing=progress.stage_control.failing,
        operations=progress.stage_control.outcomes,
        treated_failing=progress.users.failed,
        treated_expected=progress.users.expected,
        values=tuple(
            (
                measure,
                add_histograms(each.control for each in values if each.measure == measure),
                add_histograms(each.treatment for each in values if each.measure == measure),
            )
            for measure in dict.fromkeys(each.measure for each in values)
        ),
    )


class Rehearsal:
    """One way in which a release may go on.

    Args:
        release, progress: its present state; the progress follows the release.
        traffic: its present traffic.
        rng: the random generator; it draws the rates of this rehearsal, too.

    Attributes:
        release, progress: the state so far.
        next_stage_ms: when it first went beyond its present stage; None: not yet.
        full_ms: when it reached the last stage.
        completed_ms: when it completed.
        stopped_ms: when the policy first rolled it back, closed it or paused it.
    """

    def __init__(
        self, release: Release, progress: Progress, traffic: PresentTraffic, rng: RandomGenerator
    ) -> None:
        self._rng = rng
        self._traffic = traffic
        self._began_ms = progress.evaluated_ms
        self._first_stage = release.stage
        self._measured = tuple(_last_measured(release, progress))
        self._answers = tuple(Answer(each.webhook, True) for each in release.policy.confirm)
        self._control_rate, self._treatment_rate = self._draw_rates()
        self.release = approve_fully(release, self._began_ms)
        # A rehearsal shows no band, and its windows take much less time without.
        checks = tuple(replace(each, band=None) for each in progress.checks)
        self.progress = replace(progress, checks=checks)
        self.next_stage_ms: int | None = None
        self.full_ms: int | None = None
        self.completed_ms: int | None = None
        self.stopped_ms: int | None = None
        if release.is_in_last_stage and not release.closed:
            self.full_ms = release.stage_entered_ms

    @property
    def is_running(self) -> bool:
        """Whether anything of it is still open: it runs, and the policy has not stopped it."""
        state = self.release.state
        return state in LIVE_STATES and state is not State.PAUSED and self.stopped_ms is None

    def run_until(self, until_ms: int) -> None:
        """Evaluate the release until a time, or until nothing of it is open."""
        while self.is_running and self.progress.evaluated_ms < until_ms:
            self._evaluate(until_ms)

    def _evaluate(self, until_ms: int) -> None:
        before, opened_ms = self.release, self.progress.evaluated_ms
        span_ms = max(before.policy.interval_ms, (opened_ms - self._began_ms) // PARTS)
        now_ms = opened_ms + max(before.policy.interval_ms, min(span_ms, until_ms - opened_ms))
        strata = self._draw_window(before, now_ms - opened_ms)
        window = Window(
            opened_ms=opened_ms,
            closed_ms=now_ms,
            step=before.step,
            strata=strata,
            generation=self.progress.generation,
            live_instances=1,
            distributions=tuple(self._draw_values(strata)),
            measured=self._measured,
            answers=self._answers,
        )
        self.progress, decision = decide(before, self.progress, window, now_ms)
        self.release = approve_fully(apply_decision(before, decision), now_ms)
        self._note(decision.action, now_ms)

    def _note(self, action: Action, now_ms: int) -> None:
        release = self.release
        if action in STOPPING:
            self.stopped_ms = now_ms
        if release.state is State.COMPLETED:
            self.completed_ms = now_ms
        if self.next_stage_ms is None and release.stage > self._first_stage:
            self.next_stage_ms = now_ms
        if self.full_ms is None and release.is_in_last_stage and not release.closed:
            self.full_ms = now_ms

    def _draw_rates(self) -> tuple[float, float]:
        """Draw the rates of both arms, as likely as the counts make them."""
        traffic, gauss = self._traffic, self._rng.gauss
        failing = traffic.failing + CONTROL_PRIOR[0]
        control = gamma_quantile(failing, gauss(0.0, 1.0)) / (traffic.operations + CONTROL_PRIOR[1])
        ratio = gamma_quantile(traffic.treated_failing + PRIOR_FAILURES, gauss(0.0, 1.0)) / (
            traffic.treated_expected + PRIOR_FAILURES
        )
        return min(0.9, control), min(0.9, control * ratio)

    def _draw_window(self, release: Release, span_ms: int) -> tuple[StratumCounts, ...]:
        openings = present_openings(release)
        operations = dict.fromkeys((each.stage for each in openings), 0)
        for segment, pace in self._traffic.pace:
            opening = widest_opening(openings, segment)
            if opening is not None:
                operations[opening.stage] += poisson(self._rng, pace * span_ms)
        strata = []
        for opening in openings:
            share = opening.percentage / 100.0
            treated = binomial(self._rng, operations[opening.stage], share)
            arms = (
                (operations[opening.stage] - treated, self._control_rate),
                (treated, self._treatment_rate),
            )
            counts = []
            for ended, rate in arms:
                failed = binomial(self._rng, ended, rate)
                counts.append(Counts(ended, ended, failed, failed))
            strata.append(StratumCounts(opening.stage, share, *counts))
        return tuple(strata)

    def _draw_values(self, strata: Iterable[StratumCounts]) -> Iterable[Distribution]:
        for measure, control, treatment in self._traffic.values:
            for each in strata:
                yield Distribution(
                    each.stratum,
                    measure,
                    self._draw(control or treatment, each.control.outcomes),
                    self._draw(treatment or control, each.treatment.outcomes),
                )

    def _draw(self, pooled: Histogram, count: int) -> Histogram:
        return multinomial(self._rng, count, pooled, histogram_size(pooled))


def _last_measured(release: Release, progress: Progress) -> Iterable[Measured]:
    """Return what Prometheus reported last, as if it went on reporting that."""
    for number, (check, mine) in enumerate(
        zip(release.policy.checks, progress.checks, strict=True)
    ):
        if check.metric is not Metric.PROMETHEUS:
            continue
        yield Measured(number, "treatment", mine.value, mine.problem)
        if check.compare is not Compare.ABSOLUTE and mine.limit is not None:
            yield Measured(number, str(check.compare), _base(check, mine.limit))


def _base(check: Check, limit: float) -> float:
    """Return the value that a check was compared with, from the limit that follows from it."""
    relative, absolute = check.tolerance.relative, check.tolerance.absolute
    if check.operator.large_is_bad:
        return (limit - absolute) / (1.0 + relative)
    return (limit + absolute) / (1.0 - relative) if relative < 1.0 else limit
