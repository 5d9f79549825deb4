"""Two simulated releases as stories, for people who have not seen one: one does no harm, one does.

The decisions are those of the policy job, on drawn traffic; the same story is the same each time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import Final

from tidegate_server.decisions.decision import Action, Decision
from tidegate_server.decisions.progress import Progress
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.release import LIVE_STATES, Release
from tidegate_server.ledger.entry import Entry, ledger_entry
from tidegate_server.ledger.series import Reading, take_reading
from tidegate_server.random_seeds import random_generator
from tidegate_server.whatif.simulation import SimulatedRelease
from tidegate_server.whatif.traffic_model import Constant, TrafficModel

STARTS_MS: Final = int(datetime(2026, 1, 12, 10, tzinfo=UTC).timestamp() * 1000)
"""A Monday at ten, when policies with working hours open stages."""

TRAFFIC: Final = 6_000.0
"""Operations a minute."""

USERS: Final = 40_000
ERROR_RATE: Final = 0.01
MOST_WINDOWS: Final = 3_000


class Story(StrEnum):
    """Which release: ``healthy`` fails as often as before, ``harmful`` fails more often."""

    HEALTHY = "healthy"
    HARMFUL = "harmful"


RATIOS: Final = {Story.HEALTHY: 1.0, Story.HARMFUL: 1.5}
"""How many times as often operations fail with the treatment."""

SEED: Final = 1


@dataclass(frozen=True, slots=True)
class Move:
    """A decision that changed the release, and both sides of it."""

    before: Release
    after: Release
    decision: Decision


@dataclass(frozen=True, slots=True)
class Scene:
    """The release at one moment, with everything until then.

    Attributes:
        at_ms: when.
        release, progress: as they are after the evaluation of that moment.
        entries: of the ledger, the earliest first.
        readings: for the series.
        moves: what the policy did.
    """

    at_ms: int
    release: Release
    progress: Progress
    entries: tuple[Entry, ...]
    readings: tuple[Reading, ...]
    moves: tuple[Move, ...]


@cache
def scenes(story: Story, policy: Policy) -> tuple[Scene, ...]:
    """Return a story in scenes: its beginning, each move, and between two moves the middle."""
    model = TrafficModel(
        traffic=Constant(TRAFFIC),
        error_rate=Constant(ERROR_RATE),
        error_ratio=Constant(RATIOS[story]),
        users=USERS,
    )
    run = SimulatedRelease(
        policy, model, random_generator(SEED, story.value, 1), STARTS_MS, keeps_bands=True
    )
    found: list[Scene] = []
    entries: list[Entry] = []
    readings: list[Reading] = []
    moves: list[Move] = []
    while run.release.state in LIVE_STATES and run.windows < MOST_WINDOWS:
        before, progress = run.release, run.progress
        decision = run.evaluate()
        assert run.last_window is not None
        entries.append(ledger_entry(before, run.release, progress, run.last_window, decision))
        reading = take_reading(before, run.progress, decision)
        if reading is not None:
            readings.append(reading)
        if run.release != before and decision.action is not Action.HOLD:
            moves.append(Move(_told(before), _told(run.release), decision))
        found.append(
            Scene(
                decision.at_ms,
                _told(run.release),
                run.progress,
                (),
                (),
                tuple(moves),
            )
        )
    return tuple(
        replace(found[at], entries=tuple(entries[: at + 1]), readings=tuple(readings[: at + 1]))
        for at in _moments(found)
    )


def _moments(found: list[Scene]) -> list[int]:
    """Return which evaluations are scenes."""
    moved = [at for at in range(1, len(found)) if len(found[at].moves) > len(found[at - 1].moves)]
    ends = [0, *moved]
    middles = [(first + last) // 2 for first, last in zip(ends, moved, strict=False)]
    return sorted({*ends, *middles})


def _told(release: Release) -> Release:
    """Return the release as a person would have started it."""
    return replace(
        release, flag="fast-checkout", control="off", treatment="on", started_by="a simulation"
    )
