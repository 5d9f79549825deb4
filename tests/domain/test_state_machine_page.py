"""The page that shows the machine shows the machine that there is."""

from __future__ import annotations

import re
from pathlib import Path

from tidegate_server.domain.release import State
from tidegate_server.domain.release_state_machine import MOVES, Move, Mover

PAGE = Path(__file__).resolve().parents[2] / "docs" / "state-machine.md"


def test_the_table_of_the_page_is_the_machine() -> None:
    rows = re.findall(
        r"^\| (person|policy) \| ([a-z ]+) \| ([a-z_, ]+) \|$", PAGE.read_text(), re.M
    )
    shown = {
        (Mover(by), Move(move)): {State(state) for state in states.split(", ")}
        for by, move, states in rows
    }
    assert shown == {pair: set(states) for pair, states in MOVES.items()}


def test_the_picture_of_the_page_knows_every_state() -> None:
    picture = PAGE.read_text().split("```mermaid")[1].split("```")[0]
    assert {str(state) for state in State} <= set(re.findall(r"\b[a-z_]+\b", picture))
