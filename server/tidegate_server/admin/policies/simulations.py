"""Simulate releases under a policy within a request."""

from __future__ import annotations

import time
from dataclasses import dataclass

from tidegate_server.admin.policies.computation import (
    EVALUATIONS_PER_LOOK,
    TIME_LIMIT_SECONDS,
    find_policy,
)
from tidegate_server.admin.policies.simulation_schemas import SimulationRequest
from tidegate_server.domain.policy import DAY, Policy
from tidegate_server.random_seeds import random_generator
from tidegate_server.store import Store
from tidegate_server.whatif.forecast import Forecast, forecast
from tidegate_server.whatif.sampling import RandomGenerator
from tidegate_server.whatif.simulation import SimulatedRelease, SimulationRun
from tidegate_server.whatif.traffic_model import TrafficModel, constant_traffic, default_users


@dataclass(frozen=True, slots=True)
class SimulationResult:
    """The forecasts of a simulation; ``complete``: all runs ended within the time limit."""

    policy: str
    seed: int
    complete: bool
    healthy: Forecast
    bad: Forecast


def simulate(store: Store, project: str, request: SimulationRequest) -> SimulationResult:
    """Simulate healthy and bad releases under a policy.

    Raises:
        Invalid, NotFound: as ``find_policy`` raises them.
    """
    policy = find_policy(store, project, request.policy)
    users = request.users or default_users(request.traffic)
    models = {
        kind: constant_traffic(request.traffic, request.base_error, times, users, request.segments)
        for kind, times in (("healthy", 1.0), ("bad", request.times))
    }
    starts_ms = store.now_ms()
    deadline = time.monotonic() + TIME_LIMIT_SECONDS
    runs: dict[str, list[SimulationRun]] = {kind: [] for kind in models}
    for number in range(request.runs):
        if time.monotonic() >= deadline:
            break
        for kind, model in models.items():
            rng = random_generator(request.seed, kind, number)
            run = _run(policy, model, rng, starts_ms, request.days * DAY, deadline)
            if run is not None:
                runs[kind].append(run)
    stages = len(policy.stages)
    return SimulationResult(
        policy.key,
        request.seed,
        all(len(each) == request.runs for each in runs.values()),
        forecast(runs["healthy"], stages),
        forecast(runs["bad"], stages),
    )


def _run(
    policy: Policy,
    model: TrafficModel,
    rng: RandomGenerator,
    starts_ms: int,
    horizon_ms: int,
    deadline: float,
) -> SimulationRun | None:
    """Simulate one release; None if the deadline passed first."""
    release = SimulatedRelease(policy, model, rng, starts_ms)
    while release.is_running and release.elapsed_ms < horizon_ms:
        if release.windows % EVALUATIONS_PER_LOOK == 0 and time.monotonic() >= deadline:
            return None
        release.evaluate()
    return release.result()
