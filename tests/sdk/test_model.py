"""The values of a snapshot, as the functions of ``dataclasses`` see them."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest
from tidegate import model

SERVE = model.Serve("on")
WHEN = model.Comparison("plan", "in", ("pro", "team"))
RULE = model.Rule("pro", WHEN, SERVE)
OPENING = model.Opening(1, 25.0)
RELEASE = model.ActiveRelease("rel_1", "off", "on", "rel_1", 1, 1, (OPENING,), 5.0)
FLAG = model.Flag(
    "a",
    "boolean",
    1,
    "a",
    (model.Variant("on", True),),
    True,
    "on",
    SERVE,
    (RULE,),
    release=RELEASE,
)

VALUES: list[Any] = [
    WHEN,
    model.InSegment("staff"),
    model.InKeySet("3f" * 32, "salt", 250_000),
    model.All((WHEN,)),
    model.AnyOf((WHEN,)),
    model.NoneOf((WHEN,)),
    model.Variant("on", True),
    model.WeightedVariant("on", 50.0),
    SERVE,
    RULE,
    model.Prerequisite("b", ("on",)),
    OPENING,
    model.Tolerance(),
    RELEASE,
    FLAG,
    model.Segment("staff", WHEN),
    model.Snapshot("shop", "production", 1, {"a": FLAG}),
    model.Update(2, {"a": FLAG, "b": None}),
]


def test_every_class_of_the_model_is_here() -> None:
    classes = set(model.Value.__subclasses__())
    assert {type(value) for value in VALUES} == classes


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_the_functions_of_dataclasses_accept_a_value(value: Any) -> None:
    names = [field.name for field in dataclasses.fields(value)]
    assert [dataclasses.is_dataclass(each) for each in (value, type(value))] == [True, True]
    assert names == list(value.__struct_fields__)
    for name in names:
        changed = dataclasses.replace(value, **{name: "changed"})
        assert type(changed) is type(value)
        assert getattr(changed, name) == "changed"
        others = [other for other in names if other != name]
        assert [getattr(changed, other) for other in others] == [
            getattr(value, other) for other in others
        ]
    assert list(dataclasses.asdict(value)) == names


def test_asdict_converts_nested_values() -> None:
    expected = {"attribute": "plan", "operator": "in", "value": ("pro", "team")}
    assert dataclasses.asdict(RULE) == {
        "id": "pro",
        "when": expected,
        "serve": {"variant": "on", "split": ()},
    }


def test_the_fields_have_the_defaults_of_the_class() -> None:
    fields = {field.name: field for field in dataclasses.fields(model.Flag)}
    assert fields["rules"].default == ()
    assert fields["metadata"].default_factory is dict
    assert fields["key"].default is dataclasses.MISSING
    assert fields["key"].default_factory is dataclasses.MISSING


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_value_cannot_be_changed_and_can_be_copied(value: Any) -> None:
    name = value.__struct_fields__[0]
    with pytest.raises(AttributeError):
        setattr(value, name, "changed")
    assert pickle.loads(pickle.dumps(value)) == value
    assert copy.deepcopy(value) == value
