"""The reports of clients: apart from those of servers, or as a part of the common evidence.

Anyone can make up a client's reports. Where a check does not say ``client_evidence: decide``,
they have statistics of their own, by the same rule, which may only hold a release or warn.
Where it does, clients are one more stratum of each opening: increments of the evidence add
over strata, and a user who failed counts once, whoever reported it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tidegate.counts import NOTHING, StratumCounts

from tidegate_server.decisions.check_status import CheckStatus, check_statuses
from tidegate_server.decisions.decision import ClientResult
from tidegate_server.decisions.observations import Distribution, Window
from tidegate_server.decisions.progress import Progress, initial_progress
from tidegate_server.decisions.readings import ProbeReading, SplitReading
from tidegate_server.decisions.rule import rule_of
from tidegate_server.decisions.update_statistics import update_statistics
from tidegate_server.domain.checks import Metric
from tidegate_server.domain.evidence import GroupCounts, GroupValues
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.release import Release


@dataclass(frozen=True, slots=True)
class ClientStatus:
    """What the reports of clients say after a window.

    Attributes:
        progress: their statistics.
        window: what they reported.
        checks: the status of every check for which they do not decide.
        probe, split: what the probe says, and what is known of the split.
        may_hold: whether they may hold the release for more than a single check: for the
            sample ratio and the probe.
    """

    progress: Progress
    window: Window
    checks: Sequence[CheckStatus]
    probe: ProbeReading
    split: SplitReading
    may_hold: bool

    @property
    def holding_checks(self) -> list[CheckStatus]:
        """The checks for which the reports of clients may hold the release."""
        return [each for each in self.checks if each.check.clients_hold]

    @property
    def log_imbalance(self) -> float:
        """ln of the evidence that the split is broken; 0 where clients have no control group."""
        return self.split.log_evidence if self.window.has_control else 0.0

    @property
    def unbalanced(self) -> bool:
        """Whether the arms' traffic is not split as designed."""
        return self.window.has_control and self.split.is_broken

    def result(self) -> ClientResult:
        """Return the status as a decision records it."""
        return ClientResult(
            checks=tuple(each.result() for each in self.checks),
            failed_checks=tuple(each.number for each in self.checks if each.failed),
            probe=self.probe.excess,
            log_imbalance=self.log_imbalance,
            split_checked=self.split.checked,
        )


def add_deciding_clients(policy: Policy, window: Window) -> Window:
    """Return the window that decides: with the reports of clients where they decide."""
    clients = window.client
    measures = policy.distributions_of_clients
    if clients is None or not (policy.clients_decide or measures):
        return window
    strata = [
        StratumCounts(
            _client_stratum(each.stratum),
            each.share,
            each.control if policy.clients_decide else NOTHING,
            each.treatment if policy.clients_decide else NOTHING,
        )
        for each in clients.strata
    ]
    distributions = [
        Distribution(_client_stratum(each.stratum), each.measure, each.control, each.treatment)
        for each in clients.distributions
        if each.measure in measures
    ]
    added = replace(
        window,
        strata=(*window.strata, *strata),
        distributions=(*window.distributions, *distributions),
    )
    if not policy.clients_decide:
        return added
    return replace(
        added,
        late_control=window.late_control + clients.late_control,
        late_treatment=window.late_treatment + clients.late_treatment,
    )


def deciding_counts(policy: Policy, progress: Progress) -> tuple[GroupCounts, ...]:
    """Return the totals as last read: those of servers, and those of clients where they decide."""
    if progress.client is None or not policy.clients_decide:
        return progress.readings
    return progress.readings + progress.client.readings


def deciding_values(policy: Policy, progress: Progress) -> tuple[GroupValues, ...]:
    """Return the values as last read: those of servers, and those of clients where they decide."""
    if progress.client is None:
        return progress.distribution_readings
    measures = policy.distributions_of_clients
    by_clients = (
        each for each in progress.client.distribution_readings if each.measure in measures
    )
    return (*progress.distribution_readings, *by_clients)


def _client_stratum(stratum: int) -> int:
    """Return the number of the stratum of clients in an opening: -1 for 0, -2 for 1."""
    return -1 - stratum


def opening_of(stratum: int) -> int:
    """Return the number of the opening that a stratum of servers or of clients belongs to."""
    return stratum if stratum >= 0 else -1 - stratum


def update_clients(release: Release, before: Progress | None, window: Window) -> Progress | None:
    """Return the statistics of clients after a window; None while no client has reported."""
    if window.client is None:
        return before
    return update_statistics(release, before or _first_progress(release, window), window.client)


def _first_progress(release: Release, window: Window) -> Progress:
    """Return the statistics before the first window in which clients have reported."""
    return replace(
        initial_progress(release),
        evaluated_ms=window.opened_ms,
        control_ms=window.opened_ms,
        treatment_ms=window.opened_ms,
    )


def client_status(release: Release, progress: Progress, window: Window) -> ClientStatus | None:
    """Return what the reports of clients say; ``progress`` includes the window."""
    clients, reported = progress.client, window.client
    if clients is None or reported is None:
        return None
    checks = [
        replace(each, failed=False) if _is_out_of_date(each) else each
        for each in check_statuses(release, clients)
        if not each.check.clients_decide and each.check.metric is not Metric.PROMETHEUS
    ]
    may_hold = not release.policy.clients_decide and any(each.check.clients_hold for each in checks)
    rule = rule_of(clients)
    return ClientStatus(
        clients,
        reported,
        checks,
        rule.read_probe(release, clients),
        rule.read_split(clients),
        may_hold,
    )


def _is_out_of_date(status: CheckStatus) -> bool:
    """Return whether a threshold check of clients has breaches, but no value any more."""
    return not status.check.sequential and status.margin < 0 and status.progress.value is None


def end_client_epoch_if_over(release: Release, progress: Progress, window: Window) -> Progress:
    """Return the progress, with a new epoch of clients if the present one is over."""
    if progress.client is None or window.client is None:
        return progress
    client = rule_of(progress.client).end_epoch_if_over(release, progress.client, window.client)
    return progress if client is progress.client else replace(progress, client=client)
