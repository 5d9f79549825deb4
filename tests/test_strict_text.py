"""The strict parsers of JSON and YAML."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tidegate_server import strict_text
from tidegate_server.errors import Unreadable
from tidegate_server.strict_text import MAX_DEPTH, parse_json, parse_yaml


class PlainDumper(yaml.SafeDumper):
    """Writes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, 2.5, true, null, "x"]}', {"a": [1, 2.5, True, None, "x"]}),
        ('"\\ud83d\\ude00"', "😀"),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_json_is_parsed(text: str, value: Any) -> None:
    assert parse_json(text, "It") == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not JSON"),
        ('{"a":', "line 1"),
        ("1 2", "is not JSON"),
        ('{"a": 1, "a": 2}', "twice"),
        ("[NaN]", "NaN"),
        ("[-Infinity]", "-Infinity"),
        ("[1e999]", "too large"),
        ("9223372036854775808", "64 bits"),
        ("1" + "0" * 5_000, "64 bits"),
        ('["\\ud800"]', "surrogate"),
        ('{"\\uDFFF": 1}', "surrogate"),
        ("[" * 100_000, "deeply"),
    ],
)
def test_invalid_or_ambiguous_json_is_refused(text: str, words: str) -> None:
    with pytest.raises(Unreadable, match=f"^It .*{words}"):
        parse_json(text, "It")


def test_yaml_is_parsed_by_the_core_schema() -> None:
    text = "interval: 90s\nlist: [1.5, yes, 2024-01-01, 1:30, true, ~, 010]\nname: 'x'\n"
    assert parse_yaml(text, "It") == {
        "interval": "90s",
        "list": [1.5, "yes", "2024-01-01", "1:30", True, None, 10],
        "name": "x",
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &x 1\nb: *x", "aliases"),
        ("a: 1\na: 2", "on line 2 again"),
        ("1: 2", "quotes"),
        ("a: !!python/object:os 1", "tag .* on line 1"),
        ("a: !!binary aGk=", "tag .*binary"),
        ("a: !!timestamp 2001-01-01", "tag .*timestamp"),
        ("a: !!map [1]", "tag .*map"),
        ("a: !!seq {}", "tag .*seq"),
        ("a: !!int x", "its tag does not fit"),
        ("a: !mine 1", "tag '!mine'"),
        ("a: 1e999", "too large"),
        ("a: [1", "expected"),
        ("a: b: c", "line 1"),
        ("--- 1\n--- 2", "another document"),
        ("\x00", "is not YAML"),
        ("[" * 3_000, "deeply"),
        ("- " * 30_000, "deeply"),
        ("[" + "a," * 20_000 + "]", "more than 10000 values"),
    ],
)
def test_yaml_that_json_cannot_express_is_refused(text: str, words: str) -> None:
    with pytest.raises(Unreadable, match=f"^It .*{words}"):
        parse_yaml(text, "It")


@pytest.mark.parametrize("parser", [yaml.SafeLoader, yaml.CSafeLoader])
def test_the_first_fault_ends_the_parser(parser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost of a bad text does not grow with what follows the fault."""
    monkeypatch.setattr(strict_text, "YAML_LOADER", parser)
    events = count_events(monkeypatch)
    with pytest.raises(Unreadable, match="'a' on line 1 again"):
        parse_yaml("{" + "a: b, " * 10_000 + "}", "It")
    assert len(events) < 20


def count_events(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    events: list[Any] = []
    parse = yaml.parse

    def counted(*args: Any, **kwargs: Any) -> Iterator[Any]:
        for event in parse(*args, **kwargs):
            events.append(event)
            yield event

    monkeypatch.setattr(yaml, "parse", counted)
    return events


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_what_a_yaml_library_writes_is_read_back(value: Any) -> None:
    assert parse_yaml(yaml.dump(value, Dumper=PlainDumper, default_style='"'), "It") == value


@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"a": inner}])
def test_nesting_is_limited(wrap: Callable[[Any], Any]) -> None:
    def nested(levels: int) -> Any:
        value: Any = 1
        for _ in range(levels):
            value = wrap(value)
        return value

    def parse(value: Any) -> Any:
        return parse_json(json.dumps(value), "It")

    assert parse(nested(MAX_DEPTH)) == nested(MAX_DEPTH)
    with pytest.raises(Unreadable, match="deeply"):
        parse(nested(MAX_DEPTH + 1))
