"""The status of every check of a policy after a window: whether it fails or passes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tidegate.harm_evidence import LOG_HOLD_AT

from tidegate_server.decisions.decision import CheckResult
from tidegate_server.decisions.progress import CheckProgress, Progress
from tidegate_server.decisions.readings import CheckReading
from tidegate_server.decisions.rule import rule_of
from tidegate_server.decisions.safety_evidence import LOG_ADVANCE_AT
from tidegate_server.decisions.threshold_checks import has_failed, is_unreadable
from tidegate_server.domain.checks import Check, Metric
from tidegate_server.domain.release import Release

MIN_FAILING = 3
"""Treated users who must have failed before a check of the error rate can fail."""


@dataclass(frozen=True, slots=True)
class CheckStatus:
    """The status of one check.

    Attributes:
        number: its place in the policy, from 0.
        check: the check.
        progress: its statistics.
        reading: what the statistics say; of a check that is not guarded, nothing.
        failed: whether it has failed.
    """

    number: int
    check: Check
    progress: CheckProgress
    reading: CheckReading
    failed: bool

    @property
    def log_evidence(self) -> float:
        """ln E; 0 of a check that is not guarded."""
        return self.reading.log_evidence

    @property
    def rollback_at(self) -> float:
        """The value of E at which it fails; infinite for a check that is not guarded."""
        return self.reading.rollback_at

    @property
    def log_advance(self) -> float:
        """ln A; 0 of a check without a control group."""
        return self.reading.log_advance

    @property
    def detectable_ratio(self) -> float | None:
        """The smallest ratio of errors that would have been noticed by now; None: none."""
        return self.reading.detectable_ratio

    @property
    def margin(self) -> float:
        """ln E minus ln of its limit; at least 0 when E has reached the limit."""
        return self.log_evidence - math.log(self.rollback_at)

    @property
    def unreadable(self) -> bool:
        """Whether its source has been unreadable for longer than the policy allows."""
        return not self.check.sequential and is_unreadable(self.check, self.progress)

    @property
    def suspicious(self) -> bool:
        """Whether the evidence of harm is too high for an advance, although it has not failed."""
        return self.log_evidence >= LOG_HOLD_AT and not self.failed

    @property
    def safe(self) -> bool:
        """Whether the evidence of safety of a sequential check is enough for an advance."""
        return self.log_advance >= LOG_ADVANCE_AT

    def result(self) -> CheckResult:
        """Return the status as a decision records it."""
        return CheckResult(
            number=self.number,
            label=self.check.label,
            failed=self.failed,
            log_evidence=self.log_evidence,
            rollback_at=self.rollback_at if math.isfinite(self.rollback_at) else None,
            log_advance=self.log_advance,
            overdispersion=self.reading.overdispersion,
            wobble=self.reading.wobble,
            detectable_ratio=self.detectable_ratio,
            epoch=self.reading.epoch,
            bad_windows=self.progress.value_probe.bad_windows,
            value=self.progress.value,
            limit=self.progress.limit,
            breaches=self.progress.breaches,
            unreadable=self.progress.unreadable,
            problem=self.progress.problem,
        )


def check_statuses(release: Release, progress: Progress) -> list[CheckStatus]:
    """Return the status of every check after a window, in the policy's order."""
    statuses = []
    for number, (check, mine) in enumerate(
        zip(release.policy.checks, progress.checks, strict=True)
    ):
        reading = CheckReading()
        failed = not check.sequential and has_failed(check, mine)
        if check.guarded:
            reading = rule_of(progress).read_check(release, number, check, progress)
            reached = reading.log_evidence >= math.log(reading.rollback_at)
            failed = failed or (reached and _enough_failing(progress, check))
        statuses.append(CheckStatus(number, check, mine, reading, failed))
    return statuses


def _enough_failing(progress: Progress, check: Check) -> bool:
    if check.metric is not Metric.ERROR_RATE:
        return True
    failing = progress.failing_treated if check.sequential else progress.stage_treatment.failing
    return failing >= MIN_FAILING
