from __future__ import annotations

import json

import pytest
from tidegate_server.documents.line_numbers import line_of, lines_of

TEXT = """\
# A comment.
key: careful
stages:
  - {percentage: 5}
  - name: half

    percentage: 50
checks: [
  {metric: error_rate},
]
"""


def test_every_value_has_its_line() -> None:
    lines = lines_of(TEXT)

    assert lines["/key"] == 2
    assert lines["/stages"] == 3
    assert lines["/stages/0/percentage"] == 4
    assert lines["/stages/1"] == 5
    assert lines["/stages/1/percentage"] == 7
    assert lines["/checks/0/metric"] == 9


def test_a_missing_value_has_the_line_of_its_parent() -> None:
    lines = lines_of(TEXT)

    assert line_of(lines, "/stages/0/segments/0") == 4
    assert line_of(lines, "/bake") == lines[""] == 2


def test_json_has_lines_too() -> None:
    lines = lines_of(json.dumps({"key": "a", "stages": [{"percentage": 5}]}, indent=2))

    assert lines["/stages/0/percentage"] == 5


def test_names_with_slashes_are_escaped_as_in_pointers() -> None:
    assert lines_of("a/b: {c~d: 1}")["/a~1b/c~0d"] == 1


def test_a_text_without_structure_has_no_lines() -> None:
    assert lines_of("") == {}
    assert lines_of("\t{") == {}
    assert line_of({}, "/stages/0") is None


@pytest.mark.parametrize(
    "text", ["a: &x [1, 2]\nb: [*x, *x]", "- " * 30_000, '{"a":' * 30_000, "a: 1\na: 2"]
)
def test_a_text_that_is_refused_has_no_lines(text: str) -> None:
    """One with aliases can be short, and stand for more values than anybody can count."""
    assert lines_of(text) == {}
