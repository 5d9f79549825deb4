"""The documentation page of the state machine matches the code."""

from __future__ import annotations

import re
from pathlib import Path

from tidegate_server.domain.release import State
from tidegate_server.domain.release_state_machine import TRANSITIONS, Initiator, Transition

PAGE = Path(__file__).resolve().parents[2] / "docs" / "state-machine.md"


def test_the_table_of_the_page_matches_the_code() -> None:
    rows = re.findall(
        r"^\| (person|policy) \| ([a-z ]+) \| ([a-z_, ]+) \|$", PAGE.read_text(), re.M
    )
    shown = {
        (Initiator(by), Transition(transition)): {State(state) for state in states.split(", ")}
        for by, transition, states in rows
    }
    assert shown == {pair: set(states) for pair, states in TRANSITIONS.items()}


def test_the_diagram_of_the_page_has_every_state() -> None:
    diagram = PAGE.read_text().split("```mermaid")[1].split("```")[0]
    assert {str(state) for state in State} <= set(re.findall(r"\b[a-z_]+\b", diagram))
