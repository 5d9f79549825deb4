"""What a policy does, in sentences."""

from __future__ import annotations

from typing import Any, Final

from tidegate_server.dashboard import words
from tidegate_server.dashboard.charts.policy_steps import Step
from tidegate_server.dashboard.release_sentences import audience
from tidegate_server.documents.fields import Duration


def milliseconds(text: str | None) -> float:
    """Return a duration of the API such as ``15m`` in milliseconds; nothing is 0."""
    return Duration().deserialize(text) if text else 0


def bake_ms(policy: dict[str, Any]) -> float:
    """Return how long everyone has the treatment before a release completes."""
    return milliseconds(policy["bake"])


def steps(policy: dict[str, Any]) -> list[Step]:
    """Return the stages for the chart."""
    return [
        Step(
            audience(stage["segments"], stage["percentage"]),
            stage["percentage"],
            milliseconds(stage["min_duration"]),
        )
        for stage in policy["stages"]
    ]


def summary(policy: dict[str, Any]) -> str:
    """Return the stages in one line."""
    stages = [step.who for step in steps(policy)]
    return stages[0] if len(stages) == 1 else f"{', '.join(stages[:-1])}, then {stages[-1]}"


def stage_lines(policy: dict[str, Any]) -> list[str]:
    """Return each stage as a sentence."""
    lines = []
    for stage in policy["stages"]:
        line = audience(stage["segments"], stage["percentage"])
        least, needs = milliseconds(stage["min_duration"]), []
        if least:
            needs.append(words.duration(least))
        if stage["min_samples"]:
            needs.append(f"{words.count(stage['min_samples'])} operations of each arm")
        if needs:
            line += f", for at least {' and '.join(needs)}"
        if stage.get("max_duration"):
            most = words.duration(milliseconds(stage["max_duration"]))
            after = {"advance": "it goes on", "rollback": "it rolls back"}
            line += f"; after {most} without a decision {after.get(stage['undecided'], 'it holds')}"
        if stage.get("approval"):
            line += "; then it waits for approval"
        lines.append(f"{line[:1].upper()}{line[1:]}.")
    return lines


def says(policy: dict[str, Any]) -> str:
    """Return the sentence of the chart."""
    return "Percentage opened over time at the earliest: " + "; ".join(
        step.who for step in steps(policy)
    )


ACTS: Final = {
    "rollback": ("back", "Rolls back"),
    "pause": ("pause", "Pauses"),
    "hold": ("hand", "Holds"),
    "alert": ("warn", "Only warns"),
}


def rules(policy: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return what each check does: an icon, the verb, and when."""
    found = [_check(check) for check in policy["checks"]]
    data = policy["no_data"]
    verb = {"hold": "Holds", "pause": "Pauses", "rollback": "Rolls back"}.get(
        data["action"], "Acts"
    )
    after = words.duration(milliseconds(data["after"]))
    found.append(
        ("silent", verb, f"after {after} without data. It never opens further without evidence.")
    )
    return found


def _check(check: dict[str, Any]) -> tuple[str, str, str]:
    icon, verb = ACTS.get(check["on_failure"], ("hand", "Acts"))
    metric = str(check["metric"]).replace("_", " ")
    if check.get("compare") == "control":
        tolerance = check.get("tolerance") or {}
        more = []
        if tolerance.get("relative"):
            more.append(words.percent(100 * tolerance["relative"]) + " of control's")
        if tolerance.get("absolute"):
            more.append(words.percent(100 * tolerance["absolute"]) + " points")
        by = f", by more than {' or '.join(more)}" if more else ""
        what = {
            "error_rate": "users fail more often than with the control",
            "latency": "more operations are slow than with the control",
        }.get(check["metric"], f"{metric} is worse than with the control")
        false_alarm = check.get("false_alarm")
        stop = (
            f" It stops a harmless release at most once in {round(1 / false_alarm):,}."
            if false_alarm
            else ""
        )
        return icon, verb, f"when {what}{by}.{stop}"
    limit = check.get("max", check.get("min"))
    side = "above" if check.get("max") is not None else "below"
    return icon, verb, f"when {metric} is {side} {limit}."
