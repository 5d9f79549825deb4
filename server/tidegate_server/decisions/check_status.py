"""Every check of a policy after a window: how near it is to failing, and whether it passes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tidegate.harm_evidence import log_value, threshold

from tidegate_server.decisions import reasons
from tidegate_server.decisions.decision import CheckResult
from tidegate_server.decisions.progress import CheckProgress, Progress
from tidegate_server.decisions.safety_evidence import LOG_ADVANCE_AT
from tidegate_server.decisions.threshold_checks import has_failed, is_unreadable
from tidegate_server.domain.checks import Check, Metric
from tidegate_server.domain.release import Release

LOG_HOLD_AT = math.log(5.0)
"""No advance while the evidence of any check is at least this."""

MIN_ERRORS = 3
"""Treated users who must have failed before a check of the error rate can fail."""


@dataclass(frozen=True, slots=True)
class CheckStanding:
    """How a check stands.

    Attributes:
        number: its place in the policy, from 0.
        check: what it asks for.
        progress: how far it has come.
        log_evidence: ln E; 0 of a threshold check.
        rollback_at: the value of E at which it fails; infinite for a threshold check.
        failed: whether it has failed.
    """

    number: int
    check: Check
    progress: CheckProgress
    log_evidence: float
    rollback_at: float
    failed: bool

    @property
    def margin(self) -> float:
        """How far E is beyond its limit, in logs."""
        return self.log_evidence - math.log(self.rollback_at)

    @property
    def unreadable(self) -> bool:
        """Whether its source has been unreadable for longer than the policy tolerates."""
        return not self.check.sequential and is_unreadable(self.check, self.progress)

    def why_failed(self, progress: Progress) -> str:
        """The reason of a failure, with its numbers."""
        if self.check.sequential or self.margin >= 0:
            return reasons.failed_check(
                self.check, self.progress, self.log_evidence, self.rollback_at, progress
            )
        return reasons.breached(self.check, self.progress)

    def missing(self, progress: Progress, *, compared: bool) -> list[str]:
        """What this check still lacks before the release may leave its stage."""
        if not self.check.sequential:
            return [] if self.progress.passing else [reasons.not_passing(self.check, self.progress)]
        if not compared:
            return []
        found = []
        if self.log_evidence >= LOG_HOLD_AT and not self.failed:
            found.append(reasons.suspicious(self.check, self.progress, self.log_evidence, progress))
        if self.progress.advance.log_value < LOG_ADVANCE_AT:
            found.append(reasons.missing_advance(self.check, self.progress))
        return found

    def result(self) -> CheckResult:
        """How it stands, for the ledger."""
        return CheckResult(
            number=self.number,
            label=self.check.label,
            failed=self.failed,
            log_evidence=self.log_evidence,
            rollback_at=self.rollback_at if math.isfinite(self.rollback_at) else None,
            log_advance=self.progress.advance.log_value,
            overdispersion=self.progress.guard.phi,
            value=self.progress.value,
            limit=self.progress.limit,
            breaches=self.progress.breaches,
            unreadable=self.progress.unreadable,
            problem=self.progress.problem,
        )


def standings(release: Release, progress: Progress) -> list[CheckStanding]:
    """Every check of the policy after the window, in the policy's order."""
    checks = release.policy.checks
    guarded = sum(check.sequential or check.rate_limit for check in checks)
    found = []
    for number, (check, mine) in enumerate(zip(checks, progress.checks, strict=True)):
        log_evidence, limit = 0.0, math.inf
        failed = not check.sequential and has_failed(check, mine)
        if check.sequential or check.rate_limit:
            log_evidence = log_value(mine.evidence)
            limit = threshold(check.false_alarm, spending=progress.spending, checks=guarded)
            failed = failed or (log_evidence >= math.log(limit) and _enough(progress, check))
        found.append(CheckStanding(number, check, mine, log_evidence, limit, failed))
    return found


def _enough(progress: Progress, check: Check) -> bool:
    """Whether enough treated users have failed for a check of the error rate to fail."""
    if check.metric is not Metric.ERROR_RATE:
        return True
    compared = progress.failing_treated
    failing = compared if check.sequential else progress.stage_treatment.failing
    return failing >= MIN_ERRORS
