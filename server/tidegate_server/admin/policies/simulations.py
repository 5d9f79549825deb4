"""Simulate releases under a policy within a request."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from tidegate_server.admin.policies.computation import TIME_LIMIT_SECONDS, find_policy
from tidegate_server.admin.policies.simulation_schemas import SimulationRequest
from tidegate_server.store import Store
from tidegate_server.whatif.forecast import Forecast, forecast
from tidegate_server.whatif.simulation import SimulationRun
from tidegate_server.whatif.simulation_plan import Kind, SimulationPlan, simulate_job
from tidegate_server.worker_processes import Finished, run_jobs


@dataclass(frozen=True, slots=True)
class SimulationResult:
    """The forecasts of a simulation; ``complete``: all runs ended within the time limit."""

    policy: str
    seed: int
    complete: bool
    healthy: Forecast
    bad: Forecast


def simulate(store: Store, project: str, request: SimulationRequest) -> SimulationResult:
    """Simulate healthy and bad releases under a policy, on all cores.

    Raises:
        Invalid, NotFound: as ``find_policy`` raises them.
    """
    policy = find_policy(store, project, request.policy)
    plan = SimulationPlan(
        policy, request.scenario, store.now_ms(), request.runs, request.seed, request.days
    )
    jobs = plan.jobs()
    runs: dict[Kind, list[SimulationRun]] = {kind: [] for kind in Kind}
    for each in run_jobs(partial(simulate_job, plan), jobs, TIME_LIMIT_SECONDS):
        if isinstance(each, Finished):
            runs[jobs[each.job].kind].append(each.value)
    healthy, bad = forecast(runs[Kind.HEALTHY], policy), forecast(runs[Kind.BAD], policy)
    complete = healthy.runs == bad.runs == plan.runs
    return SimulationResult(policy.key, plan.seed, complete, healthy, bad)
