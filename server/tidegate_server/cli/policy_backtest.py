"""`tidegate policy backtest`: what happened beside what another policy would have done."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tidegate_server.cli.api_client import Json
from tidegate_server.cli.formatting import instant, percent
from tidegate_server.cli.output import print_table, say
from tidegate_server.decisions.reasons import duration


def show(answer: Json) -> None:
    """Tell what a backtest came to."""
    was, would = answer["was"], answer["would"]
    say(
        f"Policy {answer['policy']} on {answer['release']}, recorded from "
        f"{instant(answer['begins_at'])} to {instant(answer['ends_at'])} in "
        f"{answer['windows']:,} windows. {_runs(answer)}"
    )
    say("")
    print_table(("", "what happened", f"under {answer['policy']}"), list(_rows(was, would)))
    say("")
    say(_saved(would))
    if would["example"]:
        say("")
        say("A run that ends as most do:" if answer["runs"] > 1 else "It would have:")
        for step in would["example"]:
            action = step["action"].replace("_", " ")
            say(f"  {instant(step['at'])}  {action}, stage {step['stage']}: {step['reason']}")
    if answer["limits"]:
        say("")
        say("To be kept in mind:")
        for limit in answer["limits"]:
            say(f"  {limit}")


def _runs(answer: Json) -> str:
    if answer["runs"] == 1:
        return "Every count that the policy needs is recorded."
    cut = "" if answer["complete"] else ", as many as there was time for"
    known = f"{100 * answer['known']:.3g} % of the counts are recorded, the others drawn"
    return f"{known}, {answer['runs']} times{cut}; in brackets what nine of ten runs say."


def _rows(was: Json, would: Json) -> Iterator[tuple[str, str, str]]:
    ends = ", ".join(f"{_state(each['state'])}{_of_runs(each['runs'])}" for each in would["ends"])
    yield "in the end", _state(was["state"]), ends
    stopped = would["stopped_ms"]
    told = "-" if stopped is None else f"{_range(stopped, _time)}{_of_runs(would['stopped'])}"
    yield "stopped after", "-", told
    for number in range(max(len(was["stages"]), len(would["stages"]))):
        yield (
            f"stage {number + 1} after",
            _stage(was["stages"], number),
            _stage(would["stages"], number),
        )
    for name, key in (
        ("operations with the treatment", "exposed"),
        ("of these, failed", "errors"),
        ("users who failed with it", "hurt"),
    ):
        yield name, f"{was[key]:,}", _range(would[key], _count)


def _stage(stages: list[Json], number: int) -> str:
    if number >= len(stages):
        return ""
    stage = stages[number]
    opened = f"{stage['name']}, {percent(stage['percentage'])}"
    if stage["after_ms"] is None:
        return f"{opened}: never"
    return f"{opened}: {_range(stage['after_ms'], _time)}{_of_runs(stage['runs'])}"


def _of_runs(share: float) -> str:
    return "" if share >= 1.0 else f" in {100 * share:.3g} % of the runs"


def _saved(would: Json) -> str:
    found = would["saved"]
    if found["low"] == found["high"] == 0:
        return "It would have cost as many failures."
    if found["median"] >= 0:
        return f"It would have saved {_range(found, _count)} failures."
    spent = {"median": -found["median"], "low": -found["high"], "high": -found["low"]}
    return f"It would have cost {_range(spent, _count)} failures more."


def _range(found: Json, words: Callable[[float], str]) -> str:
    median, low, high = (words(found[name]) for name in ("median", "low", "high"))
    return median if low == high else f"{median} ({low} to {high})"


def _state(state: str) -> str:
    return state.replace("_", " ")


def _time(milliseconds: float) -> str:
    return duration(round(milliseconds)) if milliseconds else "0 s"


def _count(value: float) -> str:
    return f"{value:,.0f}"
