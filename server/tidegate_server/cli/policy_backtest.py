"""`tidegate policy backtest`: print what happened and what another policy would have done."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tidegate_server.cli.api_client import Json
from tidegate_server.cli.formatting import count, instant, percent
from tidegate_server.cli.output import print_table, print_text
from tidegate_server.decisions.evidence_words import duration


def print_backtest(backtest: Json) -> None:
    """Print the result of a backtest."""
    actual, predicted = backtest["was"], backtest["would"]
    print_text(
        f"Policy {backtest['policy']} on {backtest['release']}, recorded from "
        f"{instant(backtest['begins_at'])} to {instant(backtest['ends_at'])} in "
        f"{count(backtest['windows'], 'window')}, decided by version "
        f"{backtest['statistics']} of the statistics. {_method(backtest)}\n"
    )
    print_table(
        ("", "what happened", f"under {backtest['policy']}"), _comparison_rows(actual, predicted)
    )
    print_text(f"\n{_savings(predicted)}")
    if predicted["example"]:
        print_text("\nA typical run:" if backtest["runs"] > 1 else "\nWhat would have happened:")
        for step in predicted["example"]:
            action = step["action"].replace("_", " ")
            print_text(
                f"  {instant(step['at'])}  {action}, stage {step['stage']}: {step['reason']}"
            )
    if backtest["limits"]:
        print_text("\nLimits of this backtest:")
        for limit in backtest["limits"]:
            print_text(f"  {limit}")


def _method(backtest: Json) -> str:
    if backtest["runs"] == 1:
        return "Every count that the policy needs is recorded."
    cut = "" if backtest["complete"] else ", as many as time allowed"
    return (
        f"{100 * backtest['known']:.3g} % of the counts are recorded; the rest is simulated in "
        f"{count(backtest['runs'], 'run')}{cut}. In brackets: the range of nine out of ten runs."
    )


def _comparison_rows(actual: Json, predicted: Json) -> Iterator[tuple[str, str, str]]:
    ends = (f"{_state(each['state'])}{_in_runs(each['runs'])}" for each in predicted["ends"])
    yield "final state", _state(actual["state"]), ", ".join(ends)
    stopped = predicted["stopped_ms"]
    after = "-" if stopped is None else f"{_range(stopped, _time)}{_in_runs(predicted['stopped'])}"
    yield "stopped after", "-", after
    for number in range(max(len(actual["stages"]), len(predicted["stages"]))):
        yield (
            f"stage {number + 1} after",
            _stage(actual["stages"], number),
            _stage(predicted["stages"], number),
        )
    for name, key in (
        ("operations with the treatment", "exposed"),
        ("of these, failed", "errors"),
        ("failing users with the treatment", "hurt"),
    ):
        yield name, f"{actual[key]:,}", _range(predicted[key], _number)


def _stage(stages: list[Json], number: int) -> str:
    if number >= len(stages):
        return ""
    stage = stages[number]
    opening = f"{stage['name']}, {percent(stage['percentage'])}"
    if stage["after_ms"] is None:
        return f"{opening}: never"
    return f"{opening}: {_range(stage['after_ms'], _time)}{_in_runs(stage['runs'])}"


def _in_runs(share: float) -> str:
    return "" if share >= 1.0 else f" in {100 * share:.3g} % of the runs"


def _savings(predicted: Json) -> str:
    saved = predicted["saved"]
    if saved["low"] == saved["high"] == 0:
        return "The number of failures would have been the same."
    if saved["median"] >= 0:
        return f"It would have prevented {_failures(saved)}."
    added = {"median": -saved["median"], "low": -saved["high"], "high": -saved["low"]}
    return f"It would have caused {_failures(added, 'more ')}."


def _failures(estimate: Json, more: str = "") -> str:
    number = _range(estimate, _number)
    return f"{number} {more}failure{'' if number == '1' else 's'}"


def _range(estimate: Json, format_value: Callable[[float], str]) -> str:
    median, low, high = (format_value(estimate[name]) for name in ("median", "low", "high"))
    return median if low == high else f"{median} ({low} to {high})"


def _state(state: str) -> str:
    return state.replace("_", " ")


def _time(milliseconds: float) -> str:
    return duration(round(milliseconds)) if milliseconds else "0 s"


def _number(value: float) -> str:
    return f"{value:,.0f}"
