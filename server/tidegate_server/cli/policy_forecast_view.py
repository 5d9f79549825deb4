"""Prints the results of `tidegate policy simulate`, as tables or as JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from tidegate_server.cli.formatting import count, percent
from tidegate_server.cli.output import print_json, print_table, print_text
from tidegate_server.cli.policy_simulate import Results
from tidegate_server.decisions.detectable_ratio import LARGEST_RATIO
from tidegate_server.decisions.evidence_words import duration
from tidegate_server.domain.policy import Policy
from tidegate_server.whatif.confidence_intervals import Estimate
from tidegate_server.whatif.forecast import Forecast, Spread, StageForecast
from tidegate_server.whatif.simulation_plan import SimulationPlan


def print_results(plan: SimulationPlan, results: Results, *, as_json: bool) -> None:
    """Print the results as a table, or as JSON."""
    if as_json:
        forecasts = {"healthy": asdict(results.healthy), "bad": asdict(results.bad)}
        complete = results.seconds is None
        return print_json(
            {
                "policy": plan.policy.key,
                **asdict(plan.scenario),
                "users": plan.scenario.user_count,
                "seed": plan.seed,
                "days": plan.days,
                "complete": complete,
                **forecasts,
            }
        )
    healthy, bad, scenario = results.healthy, results.bad, plan.scenario
    print_text(
        f"Policy {plan.policy.key}: {count(healthy.runs, 'healthy release')} and "
        f"{count(bad.runs, 'bad release')}, with {scenario.traffic:,.4g} operations a minute from "
        f"{count(scenario.user_count, 'user')} and a base error of "
        f"{100 * scenario.base_error:.3g} %. In "
        "brackets: the 95 % confidence interval.\n"
    )
    headings = ("", "healthy", f"{scenario.times:g} times the errors")
    print_table(headings, _rows(plan, healthy, bad))
    for title, each in (("A healthy release", healthy), ("A bad release", bad)):
        print_text(f"\n{title} at each stage:\n")
        print_table(STAGE_HEADINGS, [_stage_row(stage) for stage in each.by_stage if _met(stage)])
        for stage in each.by_stage:
            if stage.missing is not None:
                print_text(f"\nNot left at stage {stage.name}, for example: {stage.missing}")
    if results.seconds is not None:
        print_text(
            f"\nThe time limit of {results.seconds:g} s ended the simulation early. Releases that "
            "had not ended by then count only as still there. Allow more with --time-limit, or ask "
            "for fewer --runs or --days."
        )
    return None


STAGE_HEADINGS = (
    "stage", "reached", "left", "on evidence", "on time", "after, median", "would have noticed",
    "still there",
)  # fmt: skip


def _met(stage: StageForecast) -> bool:
    """Whether any release came to a stage."""
    return stage.cut_short > 0 or (stage.reached is not None and stage.reached.value > 0.0)


def _stage_row(stage: StageForecast) -> tuple[str, ...]:
    still_there = _share(stage.undecided)
    if stage.cut_short:
        still_there = f"{count(stage.cut_short, 'release')} at the time limit"
    return (
        f"{stage.name}, {percent(stage.percentage)}",
        _share(stage.reached),
        _share(stage.left),
        _share(stage.on_evidence),
        _share(stage.on_time),
        _time(stage.time_ms.median.value) if stage.time_ms else "-",
        _ratio(stage.detectable_ratio),
        still_there,
    )


def _ratio(spread: Spread | None) -> str:
    """Return the errors that a release would have noticed when it left a stage, as a ratio."""
    if spread is None:
        return "-"
    value = spread.median.value
    return "nothing" if value >= LARGEST_RATIO else f"x{value:.3g}"


def _rows(plan: SimulationPlan, healthy: Forecast, bad: Forecast) -> list[tuple[str, ...]]:
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
