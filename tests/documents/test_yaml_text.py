"""YAML text for people: the same for the same value, and read as that value by every reader."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tidegate_server.documents.yaml_text import yaml_text
from tidegate_server.strict_text import parse_yaml

TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.text(
    " \n\t#:-?[]{}'\"|>&*!%@,~yn01e."
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=20
)
OBJECTS = st.dictionaries(TEXTS, VALUES)


@given(OBJECTS)
def test_the_text_is_read_back_as_the_same_value(document: dict[str, Any]) -> None:
    text = yaml_text(document)
    assert repr(parse_yaml(text, "It")) == repr(document)
    assert text.endswith("\n")


WORDS = ["on", "Off", "yes", "NO", "y", "n", "true", "null", "~", "", "1e5", "0x1F", "0o17"]
WORDS += ["1_000", "12:30:00", "2026-05-01", ".5", "1.", "-1", "+1", ".inf", ".NaN", "=", "<<"]
WORDS += ["15m", "a: b", "a #b", "#a", "- a", "a\nb", "a\n", " a", "a ", "\ufeff", "\x85", "é"]


@pytest.mark.parametrize("word", WORDS)
def test_readers_of_yaml_1_1_read_the_same_text(word: str) -> None:
    document = {"value": word, "list": [word, word], word or "empty": 1}
    assert yaml.safe_load(yaml_text(document)) == document


def test_long_texts_are_written_line_by_line() -> None:
    assert yaml_text(
        {"description": "One.\n\nTwo.\n", "tags": ["a", "on"], "rules": [{"id": "x"}]}
    ) == ('description: |\n  One.\n\n  Two.\ntags: [a, "on"]\nrules:\n  - id: x\n')
