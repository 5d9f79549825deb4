"""Simulating a policy for a request: in bounded time, and without keeping others waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tidegate_server.admin.document_reader import read_document
from tidegate_server.admin.policies.simulation_schemas import SimulationRequest
from tidegate_server.documents import shipped
from tidegate_server.documents.lint import check_named
from tidegate_server.domain.change import Address, Kind
from tidegate_server.domain.policy import DAY, Policy
from tidegate_server.errors import FieldProblem, Invalid, NotFound, NotPossible
from tidegate_server.random_seeds import generator
from tidegate_server.store import Store
from tidegate_server.whatif.forecast import Forecast, forecast
from tidegate_server.whatif.sampling import RandomGenerator
from tidegate_server.whatif.simulation import MAX_WINDOWS, SimulatedRelease, SimulationRun
from tidegate_server.whatif.traffic_model import TrafficModel, constant_traffic, default_users

SECONDS = 10.0
"""A simulation that takes longer is cut short: it tells what it has by then."""

BREATH = 25
"""Evaluations, some milliseconds, between which a worker looks after its other requests."""

_busy = threading.Lock()
"""One computation at a time in each process: they would only slow each other down."""


@dataclass(frozen=True, slots=True)
class Simulated:
    """What a simulation came to; ``complete``: all that was asked for was done in time."""

    policy: str
    seed: int
    complete: bool
    healthy: Forecast
    bad: Forecast


@contextmanager
def computing() -> Iterator[None]:
    """Compute for somebody; raises ``NotPossible`` while this process does so already."""
    if not _busy.acquire(blocking=False):
        raise NotPossible(
            "Another simulation or backtest is being computed; ask again in a few seconds."
        )
    try:
        yield
    finally:
        _busy.release()


def policy_for(store: Store, project: str, asked: Policy | str) -> Policy:
    """The policy that is asked about: itself, the project's, or one that is shipped.

    Raises:
        Invalid: it could not be carried out.
        NotFound: there is no policy of this key.
    """
    if isinstance(asked, Policy):
        try:
            return check_named(asked)
        except Invalid as refused:
            raise Invalid(
                refused.message,
                *(FieldProblem(f"/policy{each.pointer}", each.detail) for each in refused.fields),
            ) from None
    try:
        found: Policy = read_document(store, project, Address(Kind.POLICY, asked)).document
    except NotFound:
        if not shipped.is_shipped(asked):
            raise
        return shipped.policy(asked)
    return found


def simulate(store: Store, project: str, asked: SimulationRequest) -> Simulated:
    """Simulate healthy and bad releases under a policy.

    Raises:
        NotPossible: this process computes for somebody else.
        Invalid, NotFound: as ``policy_for``.
    """
    policy = policy_for(store, project, asked.policy)
    users = asked.users or default_users(asked.traffic)
    models = {
        kind: constant_traffic(asked.traffic, asked.base_error, times, users, asked.segments)
        for kind, times in (("healthy", 1.0), ("bad", asked.times))
    }
    starts_ms = store.now_ms()
    until = time.monotonic() + SECONDS
    runs: dict[str, list[SimulationRun]] = {kind: [] for kind in models}
    with computing():
        for number in range(asked.runs):
            if time.monotonic() >= until:
                break
            for kind, model in models.items():
                rng = generator(asked.seed, kind, number)
                run = _run(policy, model, rng, starts_ms, asked.days * DAY, until)
                if run is not None:
                    runs[kind].append(run)
    stages = len(policy.stages)
    return Simulated(
        policy.key,
        asked.seed,
        all(len(each) == asked.runs for each in runs.values()),
        forecast(runs["healthy"], stages),
        forecast(runs["bad"], stages),
    )


def _run(
    policy: Policy,
    model: TrafficModel,
    rng: RandomGenerator,
    starts_ms: int,
    horizon_ms: int,
    until: float,
) -> SimulationRun | None:
    """One release; None: the time was over before it."""
    release = SimulatedRelease(policy, model, rng, starts_ms)
    while release.is_running and release.windows < MAX_WINDOWS:
        if release.elapsed_ms >= horizon_ms:
            break
        if release.windows % BREATH == 0:
            if time.monotonic() >= until:
                return None
            time.sleep(0)
        release.evaluate()
    return release.result()
