"""What a release still needs to leave its stage, as numbers: the gates of its stage exit.

``stage_exit`` decides and says it in words; this is the same for pictures. Both take what is
needed from ``stage_needs``. The numbers are those of the last evaluation. A gate that is met may
become unmet again, the evidence of harm above all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from tidegate.harm_evidence import HOLD_AT

from tidegate_server.decisions.decision import CheckResult
from tidegate_server.decisions.exposure_groups import compares_arms
from tidegate_server.decisions.progress import Progress
from tidegate_server.decisions.safety_evidence import ADVANCE_AT
from tidegate_server.decisions.stage_needs import (
    MIN_WINDOWS,
    harm_counts,
    needed_ms,
    needs_safety,
    raises_percentage,
    stage_outcomes,
)
from tidegate_server.domain.calendar import closed_now
from tidegate_server.domain.evidence import Source
from tidegate_server.domain.policy import Undecided
from tidegate_server.domain.release import LIVE_STATES, Release, State
from tidegate_server.domain.release_state_machine import is_approved


class GateKind(StrEnum):
    """What a gate is about, and its unit.

    ``HARM`` is met while the evidence is below what it needs; ``VALUE`` while the value is
    within its limit. ``TIME`` and ``COOLDOWN`` are in seconds.
    """

    TIME = "time"
    WINDOWS = "windows"
    SAMPLES = "samples"
    SAFETY = "safety"
    HARM = "harm"
    VALUE = "value"
    CALENDAR = "calendar"
    APPROVALS = "approvals"
    CONFIRMATION = "confirmation"
    COOLDOWN = "cooldown"


@dataclass(frozen=True, slots=True)
class Gate:
    """One thing that a release needs to leave its stage.

    Attributes:
        kind: what it is about.
        met: whether it is met.
        have, need: the present value and the one that is needed; None: it has no number, or the
            number is not known.
        since_ms: since when it counts or waits; None: not known.
        until_ms: when it is met by time alone, or waived; None: never.
        check: the number of the check that it belongs to, from 0.
        arm: ``control`` or ``treatment``.
        webhook: the webhook that must confirm.
        source: whose reports it is about.
        waived: whether the stage may be left without it, because its time is over.
    """

    kind: GateKind
    met: bool
    have: float | None = None
    need: float | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    check: int | None = None
    arm: str | None = None
    webhook: str | None = None
    source: Source = Source.SERVER
    waived: bool = False

    @property
    def missing(self) -> bool:
        """Whether the release cannot leave its stage because of it."""
        return not self.met and not self.waived


def stage_gates(
    release: Release,
    progress: Progress,
    results: Sequence[CheckResult],
    client_results: Sequence[CheckResult],
    at_ms: int,
) -> tuple[Gate, ...]:
    """Return the gates of the present stage; none of a draft, and none after the end.

    Args:
        release: as it is now.
        progress: its progress, which follows the release.
        results: the results of the policy's checks.
        client_results: those by the reports of clients alone, where they may hold the release.
        at_ms: the time of the last evaluation.
    """
    if release.state not in LIVE_STATES or release.state is State.DRAFT:
        return ()
    if release.closed:
        return (*_cooldown(release, at_ms), *_calendar(release, at_ms))
    stage = release.current_stage
    entered_ms, least_ms = release.stage_entered_ms, needed_ms(release)
    elapsed_ms = max(0, at_ms - entered_ms)
    gates = [
        Gate(
            GateKind.TIME,
            elapsed_ms >= least_ms,
            elapsed_ms / 1_000,
            least_ms / 1_000,
            entered_ms,
            entered_ms + least_ms,
        ),
        Gate(
            GateKind.WINDOWS,
            progress.stage_data_windows >= MIN_WINDOWS,
            progress.stage_data_windows,
            MIN_WINDOWS,
            entered_ms,
        ),
        *_samples(release, progress),
        *_checks(release, progress, results),
        *_client_harm(release, client_results),
    ]
    longest_ms = stage.max_duration_ms
    if longest_ms is not None and stage.undecided is Undecided.ADVANCE:
        ends_ms = entered_ms + longest_ms
        gates = [
            replace(each, until_ms=ends_ms, waived=not each.met and at_ms >= ends_ms)
            if _is_evidence(each, progress)
            else each
            for each in gates
        ]
    if raises_percentage(release):
        gates += _calendar(release, at_ms)
    return (*gates, *_people(release))


def _is_evidence(gate: Gate, progress: Progress) -> bool:
    """Return whether a stage may be left without it when its time is over and its policy says so.

    A value that is not known yet is one such gate; a bad one is not.
    """
    if gate.kind is GateKind.VALUE:
        return gate.check is not None and progress.checks[gate.check].is_unknown
    return gate.kind in (GateKind.SAMPLES, GateKind.SAFETY)


def _needs_safety(release: Release) -> bool:
    return needs_safety(release, has_control=compares_arms(release))


def _samples(release: Release, progress: Progress) -> Iterator[Gate]:
    needed = release.current_stage.min_samples
    counted = stage_outcomes(progress, needs_safety=_needs_safety(release))
    for arm, outcomes in counted.items():
        yield Gate(
            GateKind.SAMPLES,
            outcomes >= needed,
            outcomes,
            needed,
            release.stage_entered_ms,
            arm=arm,
        )


def _checks(release: Release, progress: Progress, results: Sequence[CheckResult]) -> Iterator[Gate]:
    safety_counts, has_control = _needs_safety(release), compares_arms(release)
    for result in results:
        check = release.policy.checks[result.number]
        if check.sequential and safety_counts:
            yield Gate(
                GateKind.SAFETY,
                result.advance >= ADVANCE_AT,
                result.advance,
                ADVANCE_AT,
                release.stage_entered_ms,
                check=result.number,
            )
        if harm_counts(release, check, has_control=has_control):
            yield _harm(result)
        if not check.sequential:
            yield Gate(
                GateKind.VALUE,
                progress.checks[result.number].passing,
                result.value,
                result.limit,
                check=result.number,
            )


def _harm(result: CheckResult, source: Source = Source.SERVER) -> Gate:
    return Gate(
        GateKind.HARM,
        result.evidence < HOLD_AT,
        result.evidence,
        HOLD_AT,
        check=result.number,
        source=source,
    )


def _client_harm(release: Release, results: Sequence[CheckResult]) -> Iterator[Gate]:
    has_control = compares_arms(release)
    for result in results:
        check = release.policy.checks[result.number]
        if check.clients_hold and harm_counts(release, check, has_control=has_control):
            yield _harm(result, Source.CLIENT)


def _calendar(release: Release, at_ms: int) -> Iterator[Gate]:
    windows = release.policy.windows
    if not windows.advance and not windows.freeze:
        return
    closure = closed_now(windows, at_ms)
    if closure is None:
        yield Gate(GateKind.CALENDAR, met=True)
    else:
        yield Gate(
            GateKind.CALENDAR, met=False, since_ms=closure.since_ms, until_ms=closure.until_ms
        )


def _people(release: Release) -> Iterator[Gate]:
    approval = release.current_stage.approval
    if approval is not None:
        yield Gate(
            GateKind.APPROVALS,
            is_approved(release),
            len(release.approvals),
            approval.count,
            release.asked_ms,
        )
    for each in release.policy.confirm:
        yield Gate(GateKind.CONFIRMATION, met=False, webhook=each.webhook)


def _cooldown(release: Release, at_ms: int) -> Iterator[Gate]:
    until_ms = release.cooldown_until_ms
    if until_ms is None:
        return
    yield Gate(
        GateKind.COOLDOWN,
        at_ms >= until_ms,
        since_ms=release.state_since_ms,
        until_ms=until_ms,
    )
