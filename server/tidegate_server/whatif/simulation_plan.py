"""What to simulate: a policy, its traffic, and how many healthy and bad releases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tidegate_server.domain.policy import DAY, Policy
from tidegate_server.random_seeds import random_generator
from tidegate_server.whatif.simulation import SimulatedRelease, SimulationRun, simulate
from tidegate_server.whatif.traffic_model import (
    Constant,
    DailyCycle,
    Outages,
    TrafficModel,
    Wobble,
    default_users,
)
from tidegate_server.whatif.user_activity import EQUAL, Activity


class Kind(StrEnum):
    """The kind of a simulated release."""

    HEALTHY = "healthy"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Job:
    """One release to simulate: its kind, and its number among those of this kind, from 0."""

    kind: Kind
    number: int


@dataclass(frozen=True, slots=True)
class Scenario:
    """The application in which releases are simulated.

    Attributes:
        traffic: operations a minute that evaluate the flag.
        base_error: the share of them that fails with the control, 0 to 1.
        times: how many times as often operations fail with the treatment of a bad release.
        users: how many users make the operations; None: as many as ``default_users`` says.
        day_night: the share by which the traffic rises by day and falls by night, 0 to 1.
        segments, activity, retries, outages, wobble: as in ``TrafficModel``.
    """

    traffic: float
    base_error: float
    times: float = 3.0
    users: int | None = None
    day_night: float = 0.0
    segments: Mapping[str, float] = field(default_factory=dict)
    activity: Activity = EQUAL
    retries: int = 0
    outages: Outages | None = None
    wobble: Wobble | None = None

    @property
    def user_count(self) -> int:
        """How many users make the operations."""
        return self.users or default_users(self.traffic)

    def model(self, kind: Kind) -> TrafficModel:
        """Return the traffic of releases of a kind."""
        return TrafficModel(
            DailyCycle(self.traffic, self.day_night) if self.day_night else Constant(self.traffic),
            Constant(self.base_error),
            Constant(self.times if kind is Kind.BAD else 1.0),
            self.user_count,
            self.segments,
            self.activity,
            retries=self.retries,
            outages=self.outages,
            wobble=self.wobble,
        )


@dataclass(frozen=True, slots=True)
class SimulationPlan:
    """What to simulate: ``runs`` healthy releases and as many bad ones.

    Attributes:
        policy: the policy of the releases.
        scenario: the application.
        starts_ms: when every release starts (milliseconds since 1970).
        runs: how many releases of each kind.
        seed: the seed of the random numbers.
        days: a release that has not ended after so many days is undecided.
    """

    policy: Policy
    scenario: Scenario
    starts_ms: int
    runs: int
    seed: int
    days: int

    def jobs(self) -> list[Job]:
        """Return every release to simulate, healthy and bad ones in turn."""
        return [Job(kind, number) for number in range(self.runs) for kind in Kind]


def simulate_job(
    plan: SimulationPlan, job: Job, goes_on: Callable[[SimulatedRelease], bool] | None = None
) -> SimulationRun:
    """Simulate one release of a plan; the same plan and job give the same run.

    Args:
        plan: what to simulate.
        job: which release of it.
        goes_on: as in ``simulate``.
    """
    return simulate(
        plan.policy,
        plan.scenario.model(job.kind),
        random_generator(plan.seed, job.kind, job.number),
        starts_ms=plan.starts_ms,
        horizon_ms=plan.days * DAY,
        goes_on=goes_on,
    )
