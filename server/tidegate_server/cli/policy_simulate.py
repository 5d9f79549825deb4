"""`tidegate policy simulate`: simulate releases on all cores, and show how far that is."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import click

from tidegate_server.cli.output import print_stderr
from tidegate_server.domain.policy import MINUTE, Policy
from tidegate_server.whatif.forecast import Forecast, forecast
from tidegate_server.whatif.simulation import SimulationRun
from tidegate_server.whatif.simulation_plan import (
    Job,
    Kind,
    Scenario,
    SimulationPlan,
    simulate_job,
)
from tidegate_server.whatif.traffic_model import Outages, Wobble
from tidegate_server.whatif.user_activity import EQUAL, Activity
from tidegate_server.worker_processes import Finished, News, run_jobs

SECONDS_BETWEEN_LINES = 15.0
"""How often the progress is printed where no bar can be drawn."""

OUTAGE_DURATION_MS = 10 * MINUTE
OUTAGE_ERRORS = 0.2


@dataclass(frozen=True, slots=True)
class Results:
    """The results of healthy and of bad releases; ``seconds``: the time limit if it ended them."""

    healthy: Forecast
    bad: Forecast
    seconds: float | None = None


def make_plan(
    policy: Policy,
    *,
    bad: float,
    segments: Iterable[tuple[str, float]],
    activity: Activity | None,
    day_night: float | None,
    outages: float | None,
    wobble: float | None,
    wobble_memory: float,
    runs: int,
    seed: int,
    days: int,
    **scenario: Any,
) -> SimulationPlan:
    """Return what to simulate, starting now.

    Raises:
        click.BadParameter: the numbers contradict each other.
    """
    shares = dict(segments)
    base_error = scenario["base_error"]
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
    if wobble_memory and wobble is None:
        raise click.BadParameter(
            "Say with --wobble how much the arms wobble.", param_hint="--wobble-memory"
        )
    outage = None if outages is None else Outages(outages, OUTAGE_DURATION_MS, OUTAGE_ERRORS)
    application = Scenario(
        times=bad,
        segments=shares,
        activity=activity or EQUAL,
        day_night=day_night or 0.0,
        outages=outage,
        wobble=None if wobble is None else Wobble(wobble, wobble_memory),
        **scenario,
    )
    return SimulationPlan(policy, application, int(time.time() * 1_000), runs, seed, days)


def run(plan: SimulationPlan, time_limit_seconds: float) -> Results:
    """Run the simulations, and show the progress on standard error.

    An interrupt ends them early, with the results so far.
    """
    jobs = plan.jobs()
    runs: dict[Kind, list[SimulationRun]] = {kind: [] for kind in Kind}
    simulated = run_jobs(partial(simulate_job, plan), jobs, time_limit_seconds)
    with _progress(len(jobs)) as progress:
        try:
            for each in simulated:
                if isinstance(each, Finished):
                    runs[jobs[each.job].kind].append(each.value)
                    progress.finished()
                else:
                    progress.running(_describe(jobs[each.job], each))
        except KeyboardInterrupt:
            done = sum(len(each) for each in runs.values())
            print_stderr(f"Interrupted after {done:,} of {len(jobs):,} simulated releases.")
            return _summary(plan, runs, None)
    return _summary(plan, runs, time_limit_seconds)


def _summary(
    plan: SimulationPlan, runs: dict[Kind, list[SimulationRun]], seconds: float | None
) -> Results:
    healthy, bad = (forecast(runs[kind], plan.policy) for kind in Kind)
    complete = healthy.runs == bad.runs == plan.runs
    return Results(healthy, bad, None if complete else seconds)


def _describe(job: Job, news: News) -> str:
    return f"{job.kind} release {job.number + 1}: {news.text}"


class Progress(Protocol):
    """Shows how far a simulation is."""

    def finished(self) -> None:
        """Count a release that has ended."""

    def running(self, text: str) -> None:
        """Say how far a release that takes long is."""


@contextmanager
def _progress(total: int) -> Iterator[Progress]:
    """Show the progress on standard error: as a bar on a terminal, elsewhere as lines."""
    if not sys.stderr.isatty():
        yield _Lines(total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        "simulating",
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        yield _Bar(bar, total)


class _Bar:
    def __init__(self, bar: Any, total: int) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=total)

    def finished(self) -> None:
        self._bar.update(self._task, advance=1, description="")

    def running(self, text: str) -> None:
        self._bar.update(self._task, description=text)


class _Lines:
    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._printed = time.monotonic()

    def finished(self) -> None:
        self._done += 1
        self._print("")

    def running(self, text: str) -> None:
        self._print(f"; {text}")

    def _print(self, more: str) -> None:
        now = time.monotonic()
        if now >= self._printed + SECONDS_BETWEEN_LINES:
            self._printed = now
            print_stderr(f"{self._done:,} of {self._total:,} releases simulated{more}")
