"""Windows: what was observed between two evaluations of a release, by arm and stratum.

The store counts totals. A window is the difference between two readings of them, closed at
the same moment for both arms and all strata. No other data about users reaches a decision.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from tidegate.counts import NOTHING, Counts, StratumCounts

from tidegate_server.domain.evidence import (
    NO_TRIPS,
    GroupCounts,
    GroupValues,
    Histogram,
    Trips,
    add_histograms,
    subtract_histogram,
    total,
)


@dataclass(frozen=True, slots=True)
class Distribution:
    """The values of one measure that one window added in one stratum."""

    stratum: int
    measure: str
    control: Histogram
    treatment: Histogram


@dataclass(frozen=True, slots=True)
class Measured:
    """A value that a source outside the SDK returned for a check.

    Attributes:
        check: the check's place in the policy, from 0.
        of: what was measured: ``treatment``, ``control`` or ``before``.
        value: None when the source could not be read.
        problem: why it could not be read.
    """

    check: int
    of: str
    value: float | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """A webhook's answer to a request to confirm; no answer counts as a refusal."""

    webhook: str
    confirmed: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Window:
    """Everything new between two evaluations of a release.

    Attributes:
        opened_ms, closed_ms: store clock.
        step: the release's step at the end of the window.
        strata: what was added under that step, for every open stratum.
        late_control, late_treatment: what was added under earlier steps; it counts in the
            totals that people see, but in no decision.
        generation: which set of failing users ``failing`` is counted with.
        live_instances: SDK instances that report at present; None: not known.
        lost_instances: SDK instances that stopped reporting without a last report.
        distributions: the values added under the present step, for the measures of the
            policy's checks.
        measured: what outside sources returned.
        answers: the answers of the webhooks that were asked to confirm.
        trips: the trips of local breakers that were reported in this window.
        client: what clients reported: strata, distributions, what is late, and the
            generation. All other fields are what servers reported. None: no client has
            reported since the release began.
        frozen: the freeze of the environment in words; empty: there is none now.
    """

    opened_ms: int
    closed_ms: int
    step: int
    strata: tuple[StratumCounts, ...]
    late_control: Counts = NOTHING
    late_treatment: Counts = NOTHING
    generation: int = 0
    live_instances: int | None = None
    lost_instances: int = 0
    distributions: tuple[Distribution, ...] = ()
    measured: tuple[Measured, ...] = ()
    answers: tuple[Answer, ...] = ()
    trips: Trips = NO_TRIPS
    client: Window | None = None
    frozen: str = ""

    @property
    def control(self) -> Counts:
        """The control arm over all strata."""
        return total(stratum.control for stratum in self.strata)

    @property
    def treatment(self) -> Counts:
        """The treatment arm over all strata."""
        return total(stratum.treatment for stratum in self.strata)

    @property
    def has_control(self) -> bool:
        """Whether any stratum has a control group by design."""
        return any(stratum.compared for stratum in self.strata)

    def treated_values(self, measure: str) -> Histogram:
        """Return the treatment's values of a measure, over all strata."""
        return add_histograms(
            each.treatment for each in self.distributions if each.measure == measure
        )


def added_distributions(
    before: Iterable[GroupValues],
    now: Iterable[GroupValues],
    *,
    step: int,
    strata: Collection[int],
) -> tuple[Distribution, ...]:
    """Return the values added between two readings, in the open strata of the present step."""
    earlier = {(each.step, each.stratum, each.measure): each for each in before}
    added = []
    for reading in now:
        if reading.step != step or reading.stratum not in strata:
            continue
        last = earlier.get((reading.step, reading.stratum, reading.measure))
        control = subtract_histogram(reading.control, last.control if last else ())
        treatment = subtract_histogram(reading.treatment, last.treatment if last else ())
        if control or treatment:
            added.append(Distribution(reading.stratum, reading.measure, control, treatment))
    return tuple(added)


def close_window(
    before: Iterable[GroupCounts],
    now: Iterable[GroupCounts],
    *,
    shares: Mapping[int, float],
    step: int,
    opened_ms: int,
    closed_ms: int,
    generation: int = 0,
) -> Window:
    """Return the window between two readings of a release's totals.

    Args:
        before: the totals at the last evaluation; a group that is missing had no counts.
        now: the totals read now.
        shares: the design share of the treatment in each open stratum.
        step: the release's present step. What was added under another step is late.
        opened_ms: when the last window closed.
        closed_ms: when ``now`` was read.
        generation: the generation of failing users at the time of reading.
    """
    earlier = {(reading.step, reading.stratum): reading for reading in before}
    by_stratum = dict.fromkeys(shares, (NOTHING, NOTHING))
    late_control, late_treatment = NOTHING, NOTHING
    for reading in now:
        last = earlier.get((reading.step, reading.stratum))
        control = reading.control.since(last.control if last else NOTHING)
        treatment = reading.treatment.since(last.treatment if last else NOTHING)
        if reading.step == step and reading.stratum in shares:
            by_stratum[reading.stratum] = (control, treatment)
        else:
            late_control = late_control + control
            late_treatment = late_treatment + treatment
    return Window(
        opened_ms=opened_ms,
        closed_ms=closed_ms,
        step=step,
        strata=tuple(
            StratumCounts(stratum, shares[stratum], *by_stratum[stratum])
            for stratum in sorted(shares)
        ),
        late_control=late_control,
        late_treatment=late_treatment,
        generation=generation,
    )
