"""The status of every check of a policy after a window: whether it fails or passes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tidegate_server.decisions.decision import CheckResult
from tidegate_server.decisions.progress import CheckProgress, Progress
from tidegate_server.decisions.threshold_checks import has_failed, is_unreadable
from tidegate_server.decisions.version_1.harm_evidence import log_value, threshold
from tidegate_server.decisions.version_1.safety_evidence import LOG_ADVANCE_AT
from tidegate_server.domain.checks import Check, Metric
from tidegate_server.domain.release import Release

LOG_HOLD_AT = math.log(5.0)
"""ln of the evidence of harm at which a check prevents an advance."""

MIN_FAILING = 3
"""Treated users who must have failed before a check of the error rate can fail."""


@dataclass(frozen=True, slots=True)
class CheckStatus:
    """The status of one check.

    Attributes:
        number: its place in the policy, from 0.
        check: the check.
        progress: its statistics.
        log_evidence: ln E; 0 of a threshold check.
        rollback_at: the value of E at which it fails; infinite for a threshold check.
        failed: whether it has failed.
        detectable_ratio: the smallest ratio of errors that would have been noticed by now; None:
            none would surely have been, or it does not compare errors with control.
    """

    number: int
    check: Check
    progress: CheckProgress
    log_evidence: float
    rollback_at: float
    failed: bool
    detectable_ratio: float | None = None

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
        return self.progress.advance.log_value >= LOG_ADVANCE_AT

    def result(self) -> CheckResult:
        """Return the status as a decision records it."""
        return CheckResult(
            number=self.number,
            label=self.check.label,
            failed=self.failed,
            log_evidence=self.log_evidence,
            rollback_at=self.rollback_at if math.isfinite(self.rollback_at) else None,
            log_advance=self.progress.advance.log_value,
            overdispersion=self.progress.guard.factor,
            value=self.progress.value,
            limit=self.progress.limit,
            breaches=self.progress.breaches,
            unreadable=self.progress.unreadable,
            problem=self.progress.problem,
        )


def check_statuses(release: Release, progress: Progress) -> list[CheckStatus]:
    """Return the status of every check after a window, in the policy's order."""
    checks = release.policy.checks
    guarded = sum(check.sequential or check.rate_limit for check in checks)
    statuses = []
    for number, (check, mine) in enumerate(zip(checks, progress.checks, strict=True)):
        log_evidence, limit = 0.0, math.inf
        failed = not check.sequential and has_failed(check, mine)
        if check.sequential or check.rate_limit:
            log_evidence = log_value(mine.evidence)
            limit = threshold(check.false_alarm, spending=progress.spending, checks=guarded)
            failed = failed or (
                log_evidence >= math.log(limit) and _enough_failing(progress, check)
            )
        statuses.append(CheckStatus(number, check, mine, log_evidence, limit, failed))
    return statuses


def _enough_failing(progress: Progress, check: Check) -> bool:
    if check.metric is not Metric.ERROR_RATE:
        return True
    failing = progress.failing_treated if check.sequential else progress.stage_treatment.failing
    return failing >= MIN_FAILING
