"""What a policy does, in sentences."""

from __future__ import annotations

from typing import Any

from tidegate_server.dashboard import words
from tidegate_server.dashboard.charts.policy_steps import Step
from tidegate_server.dashboard.check_sentences import CheckRule, check_rule
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
            bool(stage["segments"]),
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


def rules(policy: dict[str, Any]) -> list[CheckRule]:
    """Return what each check does, and what is done without data."""
    found = [check_rule(check) for check in policy["checks"]]
    data = policy["no_data"]
    verb = {"hold": "Holds", "pause": "Pauses", "rollback": "Rolls back"}[data["action"]]
    after = words.duration(milliseconds(data["after"]))
    when = f"after {after} without data. It never opens further without evidence."
    found.append(CheckRule("silent", verb, when))
    return found
