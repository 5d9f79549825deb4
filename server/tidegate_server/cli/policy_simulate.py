"""`tidegate policy simulate`: run simulations on all cores, and print a table of the results."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import click

from tidegate_server.cli.formatting import count
from tidegate_server.cli.output import print_json, print_stderr, print_table, print_text
from tidegate_server.decisions.evidence_words import duration
from tidegate_server.domain.policy import DAY, Policy
from tidegate_server.random_seeds import random_generator
from tidegate_server.whatif.confidence_intervals import Estimate
from tidegate_server.whatif.forecast import Forecast, Spread, forecast
from tidegate_server.whatif.simulation import SimulationRun, simulate
from tidegate_server.whatif.traffic_model import TrafficModel, constant_traffic, default_users

MAX_IN_PROCESS = 40
"""Up to this many releases are simulated in this process: it is faster than starting others."""

HEALTHY, BAD = "healthy", "bad"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to simulate: ``runs`` healthy releases and as many bad ones.

    ``traffic`` is in operations a minute, ``base_error`` and the values of ``segments`` are
    shares, and ``bad`` is the factor by which a bad release raises the error rate.
    """

    policy: Policy
    traffic: float
    base_error: float
    bad: float
    users: int
    segments: dict[str, float]
    runs: int
    seed: int
    horizon_ms: int
    starts_ms: int

    def world(self, kind: str) -> TrafficModel:
        """Return the traffic model for healthy or for bad releases."""
        factor = self.bad if kind == BAD else 1.0
        return constant_traffic(self.traffic, self.base_error, factor, self.users, self.segments)


@dataclass(frozen=True, slots=True)
class Results:
    """The results of healthy and of bad releases."""

    healthy: Forecast
    bad: Forecast


def make_plan(
    policy: Policy,
    *,
    traffic: float,
    base_error: float,
    bad: float,
    users: int | None,
    segments: Iterable[tuple[str, float]],
    runs: int,
    seed: int,
    days: int,
) -> Plan:
    """Return what to simulate, starting now.

    Raises:
        click.BadParameter: the numbers contradict each other.
    """
    shares = dict(segments)
    if base_error * bad >= 1.0:
        raise click.BadParameter(
            f"With a base error of {100 * base_error:g} %, operations cannot fail {bad:g} times as "
            "often.",
            param_hint="--bad",
        )
    if sum(shares.values()) >= 1.0:
        raise click.BadParameter(
            "The shares of the segments must add up to less than 100 %.", param_hint="--segment"
        )
    if users is None:
        users = default_users(traffic)
    now_ms = int(time.time() * 1_000)
    return Plan(policy, traffic, base_error, bad, users, shares, runs, seed, days * DAY, now_ms)


def run(plan: Plan) -> Results:
    """Run the simulations, with a progress bar on standard error if that is a terminal.

    An interrupt ends it early, with the results so far.
    """
    runs: dict[str, list[SimulationRun]] = {HEALTHY: [], BAD: []}
    jobs = [(kind, number) for number in range(plan.runs) for kind in (HEALTHY, BAD)]
    with _progress(len(jobs)) as advance:
        try:
            for kind, each in simulations(plan, jobs):
                runs[kind].append(each)
                advance()
        except KeyboardInterrupt:
            done = sum(len(each) for each in runs.values())
            print_stderr(f"Interrupted after {done:,} of {len(jobs):,} simulated releases.")
    stages = len(plan.policy.stages)
    return Results(forecast(runs[HEALTHY], stages), forecast(runs[BAD], stages))


def simulations(plan: Plan, jobs: list[tuple[str, int]]) -> Iterator[tuple[str, SimulationRun]]:
    """Yield every simulated release with its kind, as it finishes."""
    processes = min(os.cpu_count() or 1, 16)
    if len(jobs) <= MAX_IN_PROCESS or processes == 1:
        yield from (_simulate_one(plan, kind, number) for kind, number in jobs)
        return
    pool = ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), _ignore_interrupts, ()
    )
    try:
        futures = [pool.submit(_simulate_one, plan, kind, number) for kind, number in jobs]
        for future in as_completed(futures):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _ignore_interrupts() -> None:
    """Leave Ctrl-C to the process that the user started."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _simulate_one(plan: Plan, kind: str, number: int) -> tuple[str, SimulationRun]:
    return kind, simulate(
        plan.policy,
        plan.world(kind),
        random_generator(plan.seed, kind, number),
        starts_ms=plan.starts_ms,
        horizon_ms=plan.horizon_ms,
    )


def print_results(plan: Plan, results: Results, *, as_json: bool) -> None:
    """Print the results as a table, or as JSON."""
    if as_json:
        parameters = {
            "policy": plan.policy.key,
            "traffic": plan.traffic,
            "base_error": plan.base_error,
            "times": plan.bad,
            "users": plan.users,
            "segments": plan.segments,
            "seed": plan.seed,
        }
        return print_json({**parameters, **asdict(results)})
    healthy, bad = results.healthy, results.bad
    print_text(
        f"Policy {plan.policy.key}: {count(healthy.runs, 'healthy release')} and "
        f"{count(bad.runs, 'bad release')}, with {plan.traffic:,.4g} operations a minute from "
        f"{count(plan.users, 'user')} and a base error of {100 * plan.base_error:.3g} %. In "
        "brackets: the 95 % confidence interval.\n"
    )
    return print_table(("", "healthy", f"{plan.bad:g} times the errors"), _rows(plan, healthy, bad))


def _rows(plan: Plan, healthy: Forecast, bad: Forecast) -> list[tuple[str, ...]]:
    both = (healthy, bad)
    return [
        ("stopped by the policy", *(_share(each.stopped) for each in both)),
        ("completed", *(_share(each.completed) for each in both)),
        ("undecided at the end", *(_share(each.undecided) for each in both)),
        *_spread_rows("time until open to everyone", [each.full_ms for each in both], _time),
        *_spread_rows("time until completed", [each.completed_ms for each in both], _time),
        *_spread_rows("time until stopped", [each.stopped_ms for each in both], _time),
        *_spread_rows("failing users with the treatment", [None, bad.hurt], _number),
        *_spread_rows("additional failures", [None, bad.extra], _number),
        *_spread_rows("operations with the treatment", [None, bad.exposed], _number),
        ("stopped at stage", *(_stages(plan.policy, each) for each in both)),
    ]


def _spread_rows(
    name: str, spreads: list[Spread | None], format_value: Callable[[float], str]
) -> list[tuple[str, ...]]:
    medians = [_estimate(each.median if each else None, format_value) for each in spreads]
    most = [format_value(each.most.value) if each else "-" for each in spreads]
    return [(f"{name}, median", *medians), ("  nine out of ten within", *most)]


def _share(estimate: Estimate | None) -> str:
    return _estimate(estimate, lambda value: f"{100 * value:.3g} %")


def _estimate(estimate: Estimate | None, format_value: Callable[[float], str]) -> str:
    if estimate is None:
        return "-"
    low, high = format_value(estimate.low), format_value(estimate.high)
    return f"{format_value(estimate.value)} ({low} to {high})"


def _time(milliseconds: float) -> str:
    return duration(round(milliseconds))


def _number(value: float) -> str:
    return f"{value:,.0f}"


def _stages(policy: Policy, results: Forecast) -> str:
    stopped = zip(policy.stages, results.stages, strict=True)
    return ", ".join(f"{stage.name} {number}" for stage, number in stopped if number) or "-"


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar on standard error if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = ("simulating", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.update(task, advance=1)
