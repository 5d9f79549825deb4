"""Scenarios in Gherkin, read from feature files and carried out sentence by sentence."""

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
    """One sentence, and the table below it, one mapping for each row."""

    sentence: str
    table: Table | None


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario, or an outline with one row of its examples."""

    feature: str
    name: str
    row: int
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return f"{self.feature}: {self.name} [{self.row}]"


def read(path: Path) -> list[Scenario]:
    """The scenarios of a feature file, the background's steps before each one's own."""
    document: Any = Parser().parse(path.read_text())
    document["uri"] = path.name
    pickles: list[Any] = list(Compiler().compile(document))
    names = [pickle["name"] for pickle in pickles]
    return [
        Scenario(
            path.stem,
            pickle["name"],
            names[:place].count(pickle["name"]) + 1,
            tuple(Step(step["text"], _table(step)) for step in pickle["steps"]),
        )
        for place, pickle in enumerate(pickles)
    ]


def _table(step: dict[str, Any]) -> Table | None:
    table = step.get("argument", {}).get("dataTable")
    if table is None:
        return None
    head, *rows = [[cell["value"] for cell in row["cells"]] for row in table["rows"]]
    return [dict(zip(head, row, strict=True)) for row in rows]


class Sentences(Generic[World]):
    """What the sentences of scenarios do.

    A function is written down for a pattern that matches a whole sentence. It is called with
    the scenario's world, the pattern's groups, and the table if there is one.
    """

    def __init__(self) -> None:
        self._known: list[tuple[re.Pattern[str], Callable[..., None]]] = []

    def __call__(self, pattern: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
        def remember(function: Callable[..., None]) -> Callable[..., None]:
            self._known.append((re.compile(pattern), function))
            return function

        return remember

    def carry_out(self, scenario: Scenario, world: World) -> None:
        """Do what a scenario says; what fails tells at which sentence."""
        for step in scenario.steps:
            function, groups = self._find(step.sentence)
            tables = [] if step.table is None else [step.table]
            try:
                function(world, *groups, *tables)
            except Exception as error:
                error.add_note(f"at: {step.sentence}")
                raise

    def _find(self, sentence: str) -> tuple[Callable[..., None], tuple[str, ...]]:
        found = [
            (function, match.groups())
            for pattern, function in self._known
            if (match := pattern.fullmatch(sentence))
        ]
        assert found, f"nobody knows what this means: {sentence}"
        assert len(found) == 1, f"this means several things: {sentence}"
        return found[0]
