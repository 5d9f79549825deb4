"""JSON pointers of the messages of a schema."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tidegate_server.documents.json_pointers import nested, pointer, problems, steps
from tidegate_server.errors import FieldProblem


@given(st.lists(st.text(max_size=5), max_size=5))
def test_a_pointer_survives_a_round_trip(path: list[str]) -> None:
    assert steps(pointer(*path)) == path


@given(st.lists(st.text(min_size=1, max_size=5).filter(lambda key: key != "_schema"), max_size=5))
def test_a_nested_message_is_found_at_its_pointer(path: list[str]) -> None:
    reported = list(problems(nested(pointer(*path), "wrong")))
    assert reported == [FieldProblem(pointer(*path), "wrong")]


def test_every_nested_message_is_found() -> None:
    messages = {
        "stages": {0: {"percentage": ["too much"]}, 2: {"_schema": ["no object"]}},
        "a/b~c": ["unknown"],
        "_schema": ["as a whole"],
    }
    assert list(problems(messages)) == [
        FieldProblem("/stages/0/percentage", "too much"),
        FieldProblem("/stages/2", "no object"),
        FieldProblem("/a~1b~0c", "unknown"),
        FieldProblem("", "as a whole"),
    ]
