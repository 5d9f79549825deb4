"""Reads Gherkin scenarios from feature files and runs them step by step."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from gherkin import Compiler, Parser

World = TypeVar("World")
Table = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its text, and its table with one mapping for each row."""

    text: str
    table: Table | None


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario, or one row of the examples of an outline."""

    feature: str
    name: str
    row: int
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return f"{self.feature}: {self.name} [{self.row}]"


def read(path: Path) -> list[Scenario]:
    """Return the scenarios of a feature file, each with the background's steps first."""
    document: Any = Parser().parse(path.read_text())
    document["uri"] = path.name
    pickles: list[Any] = list(Compiler().compile(document))
    names = [pickle["name"] for pickle in pickles]
    return [
        Scenario(
            path.stem,
            pickle["name"],
            names[:index].count(pickle["name"]) + 1,
            tuple(Step(step["text"], _table(step)) for step in pickle["steps"]),
        )
        for index, pickle in enumerate(pickles)
    ]


def _table(step: dict[str, Any]) -> Table | None:
    table = step.get("argument", {}).get("dataTable")
    if table is None:
        return None
    head, *rows = [[cell["value"] for cell in row["cells"]] for row in table["rows"]]
    return [dict(zip(head, row, strict=True)) for row in rows]


class StepRegistry(Generic[World]):
    """The functions that run steps.

    A function is registered for a pattern that matches the whole text of a step. It is called
    with the scenario's world, the pattern's groups, and the table if there is one.
    """

    def __init__(self) -> None:
        self._functions: list[tuple[re.Pattern[str], Callable[..., None]]] = []

    def __call__(self, pattern: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
        def register(function: Callable[..., None]) -> Callable[..., None]:
            self._functions.append((re.compile(pattern), function))
            return function

        return register

    def run(self, scenario: Scenario, world: World) -> None:
        """Run the steps of a scenario; an error names its step."""
        for step in scenario.steps:
            function, groups = self._find(step.text)
            tables = [] if step.table is None else [step.table]
            try:
                function(world, *groups, *tables)
            except Exception as error:
                error.add_note(f"step: {step.text}")
                raise

    def _find(self, text: str) -> tuple[Callable[..., None], tuple[str, ...]]:
        matches = [
            (function, match.groups())
            for pattern, function in self._functions
            if (match := pattern.fullmatch(text))
        ]
        assert matches, f"no function for this step: {text}"
        assert len(matches) == 1, f"several functions for this step: {text}"
        return matches[0]
