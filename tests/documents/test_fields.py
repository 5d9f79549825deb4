"""Schema fields accept exactly one form."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import ValidationError, fields
from tidegate.model import Comparison, NoneOf
from tidegate_server.documents.fields import (
    MAX_DURATION_MS,
    BoundedString,
    ConditionField,
    Duration,
    Key,
    Length,
    Number,
    Percent,
    StrictBoolean,
    StrictInteger,
    duration_text,
)


@pytest.mark.parametrize(
    ("text", "duration_ms"),
    [
        ("500ms", 500),
        ("90s", 90_000),
        ("15m", 900_000),
        ("24h", 86_400_000),
        ("7d", 604_800_000),
        ("0s", 0),
    ],
)
def test_durations_are_loaded(text: str, duration_ms: int) -> None:
    assert Duration().deserialize(text) == duration_ms


@pytest.mark.parametrize(
    "wrong", ["", "90", "1.5m", "-1s", "1 s", "1w", "9999999999s", "400d", 90, None, True, ["1s"]]
)
def test_invalid_durations_are_refused(wrong: Any) -> None:
    with pytest.raises(ValidationError):
        Duration().deserialize(wrong)


@given(st.integers(0, MAX_DURATION_MS))
def test_a_duration_survives_a_round_trip(duration_ms: int) -> None:
    if len(duration_text(duration_ms)) <= 11:
        assert Duration().deserialize(duration_text(duration_ms)) == duration_ms


@pytest.mark.parametrize(
    ("duration_ms", "text"), [(90_000, "90s"), (3_600_000, "1h"), (172_800_000, "2d"), (1, "1ms")]
)
def test_durations_are_written_in_their_largest_unit(duration_ms: int, text: str) -> None:
    assert duration_text(duration_ms) == text


@pytest.mark.parametrize("right", [0, 100, 0.001, 33.333, 12.5])
def test_percentages_are_loaded(right: float) -> None:
    assert Percent().deserialize(right) == right


@pytest.mark.parametrize("wrong", [-0.001, 100.001, 0.0001, 33.3333, "5", True, None, [5]])
def test_invalid_percentages_are_refused(wrong: Any) -> None:
    with pytest.raises(ValidationError):
        Percent().deserialize(wrong)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        (StrictBoolean(), 1),
        (StrictBoolean(), "true"),
        (StrictInteger(), True),
        (StrictInteger(), 1.0),
        (StrictInteger(), "1"),
        (Number(), True),
        (Number(), "1"),
        (BoundedString(10), 1),
        (BoundedString(10), "12345678901"),
        (BoundedString(10), "a\x1b[2J"),
        (Key(), "Big"),
        (Key(), ""),
        (Key(), "a b"),
        (Key(), "a\n"),
        (Key(), "-a"),
        (Key(), "a" * 101),
    ],
)
def test_values_of_another_type_are_refused(field: fields.Field[Any], wrong: Any) -> None:
    with pytest.raises(ValidationError):
        field.deserialize(wrong)


def test_a_condition_survives_a_round_trip() -> None:
    wire = {"none": [{"attribute": "plan", "operator": "in", "value": ["pro", "team"]}]}
    condition = ConditionField().deserialize(wire)
    assert condition == NoneOf((Comparison("plan", "in", ("pro", "team")),))
    assert ConditionField().serialize("it", {"it": condition}) == wire


def test_an_invalid_condition_is_reported_at_its_place() -> None:
    with pytest.raises(ValidationError) as refused:
        ConditionField().deserialize({"all": [{"attribute": "plan", "operator": "nearly"}]})
    assert list(refused.value.messages) == ["all"]


@pytest.mark.parametrize(
    ("bounds", "value", "says"),
    [
        (Length(min=1, max=10), "", "This must not be empty."),
        (Length(min=3), "ab", "This must have 3 characters at least; it has 2."),
        (Length(max=2_000), "a" * 2_001, "This must have 2,000 characters at most; it has 2,001."),
        (Length(max=2), [1, 2, 3], "This must have 2 items at most; it has 3."),
        (Length(min=1), [], "This must not be empty."),
    ],
)
def test_a_refused_length_is_told_with_its_limit(bounds: Length, value: Any, says: str) -> None:
    with pytest.raises(ValidationError) as refused:
        bounds(value)
    assert refused.value.messages == [says]
