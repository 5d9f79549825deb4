"""The progress of a release as it is now, also when the release moved since its evaluation.

The stored progress is that of the last evaluation. After an advance, for example, it still has
the counts of the stage before; nothing of them belongs to the present stage.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tidegate.counts import Counts

from tidegate_server.decisions.check_status import check_statuses
from tidegate_server.decisions.decision import CheckResult, Decision, from_log, smallest_ratio
from tidegate_server.decisions.exposure_groups import compares_arms
from tidegate_server.decisions.people import AffectedUsers, affected_users
from tidegate_server.decisions.progress import Progress
from tidegate_server.decisions.safety_evidence import ADVANCE_AT
from tidegate_server.decisions.silence import Silence, present_silence
from tidegate_server.decisions.stage_gates import Gate, stage_gates
from tidegate_server.decisions.update_statistics import follow_release
from tidegate_server.domain.ladder import LastDecision
from tidegate_server.domain.release import LIVE_STATES, Release, State


@dataclass(frozen=True, slots=True)
class PresentCheck:
    """One check as it is now.

    Attributes:
        result: its numbers.
        compared: whether it compares the arms in the present stage; None: it compares with
            something other than the concurrent control group.
    """

    result: CheckResult
    compared: bool | None


@dataclass(frozen=True, slots=True)
class ClientReports:
    """What clients reported: counts as in ``Progress``, and the checks by these alone."""

    control: Counts
    treatment: Counts
    stage_control: Counts
    stage_treatment: Counts
    checks: tuple[PresentCheck, ...]


@dataclass(frozen=True, slots=True)
class PresentProgress:
    """How far a release has come.

    Attributes:
        windows, evaluated_ms, control, treatment: as in ``Progress``.
        next_due_ms: when it is evaluated next; None: it is not, because it has ended or its
            flag is killed.
        stage_control, stage_treatment: the counts in the present stage.
        evidence, rollback_at: E and its limit, of the check nearest to it; None: no check
            compares with control, or nothing is open.
        advance, advance_at: A and its limit, of the check with the least; None: also in a stage
            without a control group.
        overdispersion: phi of version 1; None: no check compares with control.
        wobble: how much the arms wobble against each other, 0.1 is 10 %; None: no check compares
            with control.
        detectable_ratio: the smallest ratio of errors to control's that would have been noticed
            by now; None: none would surely have been, or errors are not compared.
        checks: every check.
        decision: the last decision, which may be of an earlier stage.
        client: what clients reported; None: nothing.
        users: how many users were harmed and spared, up to the last evaluation.
        gates: what it needs to leave its stage, as of the last evaluation.
        silence: what is missing, as of the last evaluation; None: nothing.
    """

    windows: int
    evaluated_ms: int
    next_due_ms: int | None
    control: Counts
    treatment: Counts
    stage_control: Counts
    stage_treatment: Counts
    evidence: float | None
    rollback_at: float | None
    advance: float | None
    advance_at: float | None
    overdispersion: float | None
    wobble: float | None
    detectable_ratio: float | None
    checks: tuple[PresentCheck, ...]
    decision: Decision | None
    client: ClientReports | None
    users: AffectedUsers
    gates: tuple[Gate, ...]
    silence: Silence | None


def present_progress(release: Release, stored: Progress) -> PresentProgress:
    """Return the progress of a release as it is now.

    Args:
        release: as it is now.
        stored: its progress after the last evaluation.
    """
    progress = follow_release(stored, release)
    checks = release.policy.checks
    moved = (stored.attempt, stored.step) != (release.attempt, release.step)
    if moved or stored.decision is None:
        results = tuple(status.result() for status in check_statuses(release, progress))
    else:
        results = stored.decision.checks
    compared = compares_arms(release)
    sequential = [] if release.closed else [r for r in results if checks[r.number].sequential]
    nearest = max(
        sequential, key=lambda each: each.evidence / (each.rollback_at or 1.0), default=None
    )
    least = min((each.log_advance for each in sequential), default=None) if compared else None
    client = _client_reports(release, stored, moved=moved)
    evaluated = release.state in LIVE_STATES and release.state is not State.KILLED
    return PresentProgress(
        windows=progress.windows,
        evaluated_ms=progress.evaluated_ms,
        next_due_ms=progress.next_due_ms if evaluated else None,
        control=progress.control,
        treatment=progress.treatment,
        stage_control=progress.stage_control,
        stage_treatment=progress.stage_treatment,
        evidence=nearest.evidence if nearest else None,
        rollback_at=nearest.rollback_at if nearest else None,
        advance=None if least is None else from_log(least),
        advance_at=None if least is None else ADVANCE_AT,
        overdispersion=max((each.overdispersion for each in sequential), default=None),
        wobble=max((each.wobble for each in sequential), default=None),
        detectable_ratio=smallest_ratio(sequential),
        checks=_present_checks(release, results),
        decision=stored.decision,
        client=client,
        users=affected_users(progress.users),
        gates=stage_gates(
            release,
            progress,
            results,
            [] if client is None else [each.result for each in client.checks],
            progress.evaluated_ms,
        ),
        silence=present_silence(release, progress),
    )


def _present_checks(release: Release, results: Iterable[CheckResult]) -> tuple[PresentCheck, ...]:
    compared = compares_arms(release)
    return tuple(
        PresentCheck(each, compared if release.policy.checks[each.number].sequential else None)
        for each in results
    )


def _client_reports(release: Release, stored: Progress, *, moved: bool) -> ClientReports | None:
    if stored.client is None:
        return None
    progress = follow_release(stored.client, release)
    known = stored.decision.client if stored.decision is not None else None
    results: tuple[CheckResult, ...] = () if known is None else known.checks
    if moved:
        shown = {each.number for each in results}
        statuses = check_statuses(release, progress)
        results = tuple(each.result() for each in statuses if each.number in shown)
    return ClientReports(
        progress.control,
        progress.treatment,
        progress.stage_control,
        progress.stage_treatment,
        _present_checks(release, results),
    )


def last_decision(stored: Progress | None) -> LastDecision | None:
    """Return the last decision in words, with the step at which it was made."""
    if stored is None or stored.decision is None:
        return None
    return LastDecision(stored.decision.reason, stored.decision.at_ms, stored.step)
