"""`tidegate policy simulate`: on all cores, with a progress bar, into a small table."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import click

from tidegate_server.cli.output import note, print_json, print_table, say
from tidegate_server.decisions.reasons import duration
from tidegate_server.domain.policy import Policy
from tidegate_server.random_seeds import generator
from tidegate_server.whatif.confidence_intervals import Estimate
from tidegate_server.whatif.forecast import Forecast, Spread, forecast
from tidegate_server.whatif.simulation import Run, simulate
from tidegate_server.whatif.traffic_model import World, steady, users_behind

FEW = 40
"""So many releases are simulated in this process: more are worth starting others."""

HEALTHY, BAD = "healthy", "bad"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be simulated: so many healthy releases, and as many bad ones."""

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

    def world(self, kind: str) -> World:
        """The world of a kind of release."""
        times = self.bad if kind == BAD else 1.0
        return steady(self.traffic, self.base_error, times, self.users, self.segments)


@dataclass(frozen=True, slots=True)
class Simulated:
    """Healthy and bad releases, side by side."""

    healthy: Forecast
    bad: Forecast


def plan(
    policy: Policy,
    traffic: float,
    base_error: float,
    bad: float,
    users: int | None,
    segments: dict[str, float],
    runs: int,
    seed: int,
    horizon_ms: int,
) -> Plan:
    """What is to be simulated.

    Raises:
        click.BadParameter: the numbers contradict each other.
    """
    if base_error * bad >= 1.0:
        raise click.BadParameter(
            f"{base_error:g} of the operations fail already, so they cannot fail {bad:g} times "
            "as often.",
            param_hint="--bad",
        )
    if sum(segments.values()) >= 1.0:
        raise click.BadParameter("The segments have more than everyone.", param_hint="--segment")
    if users is None:
        users = users_behind(traffic)
    now_ms = int(time.time() * 1_000)
    return Plan(policy, traffic, base_error, bad, users, segments, runs, seed, horizon_ms, now_ms)


def run(planned: Plan) -> Simulated:
    """Simulate, with a bar on standard error where people look.

    Someone who interrupts it gets what has been simulated so far.
    """
    found: dict[str, list[Run]] = {HEALTHY: [], BAD: []}
    work = [(kind, number) for number in range(planned.runs) for kind in (HEALTHY, BAD)]
    with _progress(len(work)) as advance:
        try:
            for kind, each in simulations(planned, work):
                found[kind].append(each)
                advance()
        except KeyboardInterrupt:
            done = sum(len(runs) for runs in found.values())
            note(f"Interrupted after {done:,} of {len(work):,} simulated releases.")
    stages = len(planned.policy.stages)
    return Simulated(forecast(found[HEALTHY], stages), forecast(found[BAD], stages))


def simulations(planned: Plan, work: list[tuple[str, int]]) -> Iterator[tuple[str, Run]]:
    """Every simulated release as it is done, with its kind."""
    processes = min(os.cpu_count() or 1, 16)
    if len(work) <= FEW or processes == 1:
        yield from (_one(planned, kind, number) for kind, number in work)
        return
    pool = ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), _leave_interrupts, ()
    )
    try:
        futures = [pool.submit(_one, planned, kind, number) for kind, number in work]
        for future in as_completed(futures):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_interrupts() -> None:
    """An interrupt is for the process that people started."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _one(planned: Plan, kind: str, number: int) -> tuple[str, Run]:
    return kind, simulate(
        planned.policy,
        planned.world(kind),
        generator(planned.seed, kind, number),
        starts_ms=planned.starts_ms,
        horizon_ms=planned.horizon_ms,
    )


def show(planned: Plan, simulated: Simulated, *, as_json: bool) -> None:
    """Tell what came of it."""
    if as_json:
        asked = {
            "policy": planned.policy.key,
            "traffic": planned.traffic,
            "base_error": planned.base_error,
            "times": planned.bad,
            "users": planned.users,
            "segments": planned.segments,
            "seed": planned.seed,
        }
        return print_json({**asked, **asdict(simulated)})
    healthy, bad = simulated.healthy, simulated.bad
    say(
        f"Policy {planned.policy.key}: {healthy.runs:,} healthy releases and {bad.runs:,} bad "
        f"ones, on {planned.traffic:,.4g} operations a minute of {planned.users:,} users, of "
        f"which {100 * planned.base_error:.3g} % fail. In brackets what a value may be with a "
        "confidence of 95 %."
    )
    say("")
    return print_table(
        ("", "healthy", f"{planned.bad:g} times the errors"), _rows(planned, healthy, bad)
    )


def _rows(planned: Plan, healthy: Forecast, bad: Forecast) -> list[tuple[str, ...]]:
    both = (healthy, bad)
    rows: list[tuple[str, ...]] = [
        ("stopped by the policy", *(_share(each.stopped) for each in both)),
        ("completed", *(_share(each.completed) for each in both)),
        ("undecided in the end", *(_share(each.undecided) for each in both)),
        *_spread_rows("time until everyone has it", [each.full_ms for each in both], _time),
        *_spread_rows("time until completed", [each.completed_ms for each in both], _time),
        *_spread_rows("time until stopped", [each.stopped_ms for each in both], _time),
        *_spread_rows("users who failed with it", [None, bad.hurt], _count),
        *_spread_rows("failures it added", [None, bad.extra], _count),
        *_spread_rows("operations with it", [None, bad.exposed], _count),
        ("stopped at stage", *(_stages(planned.policy, each) for each in both)),
    ]
    return rows


def _spread_rows(
    name: str, spreads: list[Spread | None], words: Callable[[float], str]
) -> list[tuple[str, ...]]:
    medians = [_estimate(each.median if each else None, words) for each in spreads]
    most = [words(each.most.value) if each else "-" for each in spreads]
    return [(f"{name}, median", *medians), ("  nine of ten within", *most)]


def _share(found: Estimate | None) -> str:
    return _estimate(found, lambda value: f"{100 * value:.3g} %")


def _estimate(found: Estimate | None, words: Callable[[float], str]) -> str:
    if found is None:
        return "-"
    return f"{words(found.value)} ({words(found.low)} to {words(found.high)})"


def _time(milliseconds: float) -> str:
    return duration(round(milliseconds))


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _stages(policy: Policy, found: Forecast) -> str:
    told = [
        f"{stage.name} {number}"
        for stage, number in zip(policy.stages, found.stages, strict=True)
        if number
    ]
    return ", ".join(told) or "-"


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """A bar on standard error, for people only."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = ("simulating", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.update(task, advance=1)
