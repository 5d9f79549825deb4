"""The version of the statistics that a release runs under: the one place that chooses it.

A release ends under the version that it started under, so that its ledger can be replayed to
the last digit.
"""

from __future__ import annotations

from typing import Protocol

from tidegate_server.decisions import version_2
from tidegate_server.decisions.observations import Window
from tidegate_server.decisions.progress import Progress
from tidegate_server.decisions.readings import CheckReading, ProbeReading, SplitReading
from tidegate_server.decisions.version_1 import rule as version_1
from tidegate_server.domain.checks import Check
from tidegate_server.domain.release import Release


class Rule(Protocol):
    """One version of the statistics, as the rest of an evaluation uses it."""

    PROBE_FIRES_AT: float
    """The excess of errors, in logs, at which the probe asks for a control group."""

    def restart_attempt(self, progress: Progress, /) -> Progress:
        """Return the progress with statistics for a new attempt."""

    def restart_stage(self, progress: Progress, /) -> Progress:
        """Return the progress with statistics for another visit of a stage."""

    def update(self, release: Release, progress: Progress, window: Window, /) -> Progress:
        """Return the progress with the window in its statistics; its counts are in already."""

    def end_epoch_if_over(
        self, release: Release, progress: Progress, window: Window, /
    ) -> Progress:
        """Return the progress after a decision, in a new epoch if the present one is over.

        In a new epoch every failing user counts again: the commit that stores the progress must
        also raise the evidence's generation to ``progress.generation``.
        """

    def count_retreat(self, progress: Progress, /) -> Progress:
        """Return the progress after the release has gone back a stage by itself."""

    def read_check(
        self, release: Release, number: int, check: Check, progress: Progress, /
    ) -> CheckReading:
        """Return what the statistics say of a guarded check (``Check.guarded``)."""

    def read_probe(self, release: Release, progress: Progress, /) -> ProbeReading:
        """Return what the probe says."""

    def read_split(self, progress: Progress, /) -> SplitReading:
        """Return what is known of the split of the traffic."""


def rule_of(progress: Progress) -> Rule:
    """Return the version of the statistics that a progress belongs to."""
    return version_1 if progress.statistics == 1 else version_2
