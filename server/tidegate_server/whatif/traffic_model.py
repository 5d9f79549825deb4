"""A model of an application: how much traffic its users make, and how often it fails."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tidegate_server.domain.policy import DAY
from tidegate_server.whatif.user_activity import EQUAL, Activity

USERS_PER_TRAFFIC = 100

DEFAULT_SEGMENT_SHARE = 0.05
"""The share of the users in a segment whose share is not given."""


@dataclass(frozen=True, slots=True)
class SimulationTime:
    """The time of a window, which the rates of a model may depend on.

    Attributes:
        at_ms: the window's end (store clock).
        window: its number, from 1.
        since_change: windows since the last change of the openings; 0 in the first one after
            it.
    """

    at_ms: int
    window: int
    since_change: int


TimeFunction = Callable[[SimulationTime], float]
"""A number that depends on the time."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that never changes."""

    value: float

    def __call__(self, time: SimulationTime) -> float:
        """Return the value."""
        return self.value


@dataclass(frozen=True, slots=True)
class DailyCycle:
    """A value that rises by the share ``swing`` in the morning (UTC) and falls by it at night."""

    value: float
    swing: float

    def __call__(self, time: SimulationTime) -> float:
        """Return the value at a time of day."""
        return self.value * (1.0 + self.swing * math.sin(time.at_ms / DAY * math.tau))


@dataclass(frozen=True, slots=True)
class Outages:
    """Outages that hit both arms, at random times.

    Attributes:
        per_day: how many begin in a day on average.
        duration_ms: how long each lasts.
        error_rate: the share of the operations that fail because of it, 0 to 1.
    """

    per_day: float
    duration_ms: int
    error_rate: float


@dataclass(frozen=True, slots=True)
class Wobble:
    """Rates of the arms that move apart and together again, and are equal on average.

    Attributes:
        size: the standard deviation of the logarithm of their ratio: 0.2 for 20 %.
        memory_windows: after so many windows a third of a deviation is left; 0: each window
            has its own.
    """

    size: float
    memory_windows: float = 0.0


@dataclass(frozen=True, slots=True)
class TrafficModel:
    """An application's traffic and how it fails.

    Attributes:
        traffic: operations a minute that ask for the flag.
        error_rate: the share of them that fails with the control, 0 to 1.
        error_ratio: how many times as often operations fail with the treatment.
        users: how many users make the operations.
        segments: the share of the users in each segment, 0 to 1; no user is in two. A
            segment that is missing here has ``DEFAULT_SEGMENT_SHARE``.
        activity: how unequally active users are.
        always_failing_users: users whose every operation fails, in either arm.
        always_failing_share: the share of the control's failures that these users cause.
        latency_ratio: how many times as long operations take with the treatment.
        retries: how often a user tries a failed operation again at once, until it succeeds;
            half of these tries fail, too.
        outages: outages that hit both arms; None: there are none.
        wobble: how much the arms move apart between windows; None: not at all.
    """

    traffic: TimeFunction
    error_rate: TimeFunction
    error_ratio: TimeFunction = Constant(1.0)
    users: int = 20_000
    segments: Mapping[str, float] = field(default_factory=dict)
    activity: Activity = EQUAL
    always_failing_users: int = 0
    always_failing_share: float = 0.0
    latency_ratio: float = 1.0
    retries: int = 0
    outages: Outages | None = None
    wobble: Wobble | None = None

    def segment_share(self, segment: str) -> float:
        """Return the share of the users in a segment."""
        return self.segments.get(segment, DEFAULT_SEGMENT_SHARE)


def default_users(traffic: float) -> int:
    """Return how many users to assume behind a number of operations a minute.

    Each user makes one operation every hundred minutes; there are at least a thousand users.
    """
    return max(1_000, round(traffic * USERS_PER_TRAFFIC))
