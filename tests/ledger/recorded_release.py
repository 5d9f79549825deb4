"""Simulated releases that leave a ledger, as real ones do."""

from __future__ import annotations

import random

from tidegate_server.decisions.decision import Decision
from tidegate_server.domain.policy import Policy
from tidegate_server.ledger.entry import Entry, ledger_entry
from tidegate_server.whatif.recording import Recording, recording
from tidegate_server.whatif.simulation import Rehearsal
from tidegate_server.whatif.traffic_model import World


class Noted(Rehearsal):
    """A simulated release whose decisions are written down."""

    def __init__(self, by: Policy, world: World, seed: int) -> None:
        super().__init__(by, world, random.Random(seed))
        self.ledger: list[Entry] = []

    def window(self) -> Decision:
        before, progress = self.release, self.progress
        decision = super().window()
        assert self.seen is not None
        self.ledger.append(ledger_entry(before, self.release, progress, self.seen, decision))
        return decision


def noted(by: Policy, world: World, seed: int = 1, most_windows: int = 400) -> Noted:
    """A simulated release until its end, or for so many windows."""
    release = Noted(by, world, seed)
    while release.goes_on and release.windows < most_windows:
        release.window()
    return release


def recorded(by: Policy, world: World, seed: int = 1, most_windows: int = 400) -> Recording:
    """What such a release recorded."""
    release = noted(by, world, seed, most_windows)
    return recording(release.release, release.ledger)
