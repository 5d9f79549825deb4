"""Simulated releases that write a ledger, as real ones do."""

from __future__ import annotations

import random

from tidegate_server.decisions.decision import Decision
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.release import STATISTICS
from tidegate_server.ledger.entry import Entry, ledger_entry
from tidegate_server.whatif.recording import Recording, read_recording
from tidegate_server.whatif.simulation import SimulatedRelease
from tidegate_server.whatif.traffic_model import TrafficModel


class ReleaseWithLedger(SimulatedRelease):
    """A simulated release that records its decisions."""

    def __init__(self, by: Policy, model: TrafficModel, seed: int, statistics: int) -> None:
        super().__init__(by, model, random.Random(seed), statistics=statistics)
        self.ledger: list[Entry] = []

    def evaluate(self) -> Decision:
        before, progress = self.release, self.progress
        decision = super().evaluate()
        assert self.last_window is not None
        self.ledger.append(ledger_entry(before, self.release, progress, self.last_window, decision))
        return decision


def simulate_with_ledger(
    by: Policy,
    model: TrafficModel,
    seed: int = 1,
    max_windows: int = 400,
    statistics: int = STATISTICS,
) -> ReleaseWithLedger:
    """Simulate a release to its end, or for this many windows."""
    release = ReleaseWithLedger(by, model, seed, statistics)
    while release.is_running and release.windows < max_windows:
        release.evaluate()
    return release


def simulate_recording(
    by: Policy, model: TrafficModel, seed: int = 1, max_windows: int = 400
) -> Recording:
    """Return the record of such a release."""
    release = simulate_with_ledger(by, model, seed, max_windows)
    return read_recording(release.release, release.ledger)
