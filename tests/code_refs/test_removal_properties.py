"""A program without a flag does what it did with the flag at a fixed value."""

from __future__ import annotations

import ast
import tempfile
from pathlib import Path

from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from tidegate_server.code_refs.flag_removal import FlagRemoval, Variant
from tidegate_server.code_refs.settings import ScanSettings
from tidegate_server.code_refs.source_files import SourceTree

from tests.code_refs.programs import SWITCH, THEME, FixedClient, behaviour, programs

EVALUATIONS = ("boolean", "string", "boolean_details")


def without_flag(program: str, flag: str, value: object) -> str:
    """Return a program without one flag."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.py"
        path.write_text(program)
        removal = FlagRemoval(SourceTree(Path(folder)), flag, Variant("v", value), ScanSettings())
        changes = removal.run().changes
        return changes[0].after.decode() if changes else program


def is_valid(program: str) -> bool:
    """Return whether Python accepts a program."""
    try:
        compile(program, "program", "exec")
    except SyntaxError:
        return False
    return True


# A failing program is printed as it is: to make a smaller one of it takes minutes.
@settings(max_examples=25, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(
    program=programs,
    switch=st.booleans(),
    theme=st.sampled_from(["dark", "plain", "black"]),
    a=st.sampled_from([0, 1, "text"]),
    b=st.booleans(),
)
def test_a_program_without_its_flags_does_the_same(
    program: str, switch: bool, theme: str, a: object, b: bool
) -> None:
    assume(is_valid(program))
    client = FixedClient(switch, theme)
    expected = behaviour(program, client, a, b)
    once = without_flag(program, SWITCH, switch)
    assert behaviour(once, client, a, b) == expected, once
    twice = without_flag(once, THEME, theme)
    assert behaviour(twice, None, a, b) == expected, twice
    assert "_fixed_flag_value_" not in twice
    for node in ast.walk(ast.parse(twice)):
        assert not isinstance(node, ast.Attribute) or node.attr not in EVALUATIONS, twice
