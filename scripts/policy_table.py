"""How long healthy releases take under the shipped policies, and what bad ones cost.

For each amount of traffic: the median hours of a healthy release to 100 % and to completion; T:
some stage is mostly left on time. Then for three and five times the errors the mean of the
additional failures, and how many releases completed or were undecided in the end, if any.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Sequence
from functools import partial

from tidegate_server.documents import shipped
from tidegate_server.domain.policy import HOUR
from tidegate_server.domain.release import Basis, State
from tidegate_server.whatif.simulation import SimulationRun
from tidegate_server.whatif.simulation_plan import Job, Kind, Scenario, SimulationPlan, simulate_job
from tidegate_server.worker_processes import Finished, run_jobs

TRAFFIC = (7, 20, 200, 2_000, 20_000)
"""Operations a minute."""

BASE_ERROR = 0.01
BAD = (3.0, 5.0)
DAYS = 8
LONG_ENOUGH_SECONDS = 7 * 24 * 3_600.0


def cell(policy: str, traffic: float, runs: int) -> str:
    """Return the table's cell of a policy and an amount of traffic.

    Args:
        policy: the key of a shipped policy.
        traffic: operations a minute.
        runs: how many releases of each kind are simulated.
    """
    healthy = _simulate(policy, traffic, BAD[0], Kind.HEALTHY, runs)
    text = f"{_hours([each.full_ms for each in healthy])} / {_hours(_completed_ms(healthy))}"
    if _is_mostly_left_on_time(healthy):
        text += " T"
    bad = {times: _simulate(policy, traffic, times, Kind.BAD, runs) for times in BAD}
    text += "; " + ", ".join(_mean(each) for each in bad.values())
    notes = [f"x{times:g}: {note}" for times, each in bad.items() for note in _notes(each)]
    return f"{text} ({', '.join(notes)})" if notes else text


def _simulate(
    policy: str, traffic: float, times: float, kind: Kind, runs: int
) -> list[SimulationRun]:
    scenario = Scenario(traffic, BASE_ERROR, times)
    plan = SimulationPlan(shipped.policy(policy), scenario, 0, runs, seed=1, days=DAYS)
    jobs = [Job(kind, number) for number in range(runs)]
    results = run_jobs(partial(simulate_job, plan), jobs, LONG_ENOUGH_SECONDS)
    return [each.value for each in results if isinstance(each, Finished)]


def _completed_ms(runs: Sequence[SimulationRun]) -> list[int | None]:
    return [each.elapsed_ms if each.state is State.COMPLETED else None for each in runs]


def _hours(times_ms: Sequence[int | None]) -> str:
    """Return the median in hours; a release that never got there took longest."""
    median = statistics.median(math.inf if each is None else each for each in times_ms)
    return "never" if math.isinf(median) else f"{median / HOUR:.1f}"


def _is_mostly_left_on_time(runs: Sequence[SimulationRun]) -> bool:
    for stage in zip(*(each.stages for each in runs), strict=True):
        bases = [each.decision.basis for each in stage if each.left_ms and each.decision]
        if bases.count(Basis.TIME) * 2 > len(bases):
            return True
    return False


def _mean(runs: Sequence[SimulationRun]) -> str:
    extra = [each.extra for each in runs]
    error = statistics.stdev(extra) / math.sqrt(len(extra)) if len(extra) > 1 else math.inf
    return f"{statistics.fmean(extra):.0f} ±{1.96 * error:.0f}"


def _notes(runs: Sequence[SimulationRun]) -> list[str]:
    completed = sum(each.state is State.COMPLETED for each in runs) / len(runs)
    held = sum(each.state is not State.COMPLETED and not each.stopped for each in runs) / len(runs)
    return [
        f"{100 * share:.0f} % {word}"
        for share, word in ((completed, "completed"), (held, "held"))
        if share >= 0.005
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, row by row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("policies", nargs="*", metavar="POLICY", help="default: all shipped ones")
    parser.add_argument("--runs", type=int, default=100, help="releases of each kind")
    parser.add_argument("--traffic", type=float, nargs="+", default=TRAFFIC, metavar="RATE")
    given = parser.parse_args(arguments)
    unknown = set(given.policies) - set(shipped.NAMES)
    if unknown:
        parser.error(f"no shipped policy {sorted(unknown)[0]!r}; choose from {shipped.NAMES}")
    print("| policy |", " | ".join(f"{each:,g}/min" for each in given.traffic), "|")
    print("|---|" + "---|" * len(given.traffic))
    for policy in given.policies or shipped.NAMES:
        cells = [cell(policy, traffic, given.runs) for traffic in given.traffic]
        print(f"| {policy} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
