from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate import Client, Context
from tidegate.evaluation import code_generation

from tests.sdk.documents import a_flag, a_release, a_snapshot
from tests.sdk.snapshots import FLAGS, contexts, snapshots

CODE = "'); raise SystemExit  # \\ \n {0} %s"
"""Would end the process if it were ever compiled."""


def rule(number: int, when: dict[str, Any], variant: str = "off") -> dict[str, Any]:
    return {"id": f"rule-{number}", "when": when, "serve": {"variant": variant}}


def equals(attribute: str, value: str) -> dict[str, Any]:
    return {"attribute": attribute, "operator": "equals", "value": value}


DEFAULTS: dict[str, Any] = {
    "boolean": True,
    "string": "default",
    "integer": 7,
    "float": 7.5,
    "object": {"default": []},
}


@given(snapshots(), st.lists(contexts, min_size=1, max_size=3))
@settings(max_examples=60)
def test_a_value_and_its_exposures_equal_those_of_the_details(
    document: dict[str, Any], flat_contexts: list[dict[str, Any]]
) -> None:
    client = Client.offline(document)
    asked = itertools.product(FLAGS, DEFAULTS.items(), map(Context.of, flat_contexts))
    for key, (type_, default), context in asked:
        evaluate, evaluate_details = getattr(client, type_), getattr(client, f"{type_}_details")
        for other in (context, None):
            for _ in range(2):  # the first evaluation compiles
                with client.operation(context) as of_value:
                    value = evaluate(key, default, other)
                    again = evaluate(key, default, other)
                    assert (again, type(again)) == (value, type(value))
                with client.operation(context) as of_details:
                    details = evaluate_details(key, default, other)
                assert (value, type(value)) == (details.value, type(details.value))
                assert of_value.exposures == of_details.exposures
                assert of_value.users == of_details.users


def test_text_from_a_snapshot_is_never_compiled() -> None:
    segment = {"key": CODE, "included": [CODE]}
    rules = [
        rule(1, equals(CODE, CODE)),
        rule(2, {"attribute": "plan", "operator": "in", "value": [CODE]}),
        rule(3, {"segment": CODE}),
        rule(4, {"any": [equals(f"{CODE}.x", CODE), {"none": [equals("x", "y")]}]}),
    ]
    flag = a_flag("odd", salt=CODE, rules=rules, release=a_release((50, []), salt=CODE))
    client = Client.offline(a_snapshot(flag, **{CODE: segment}))
    for user in ({CODE: CODE}, {"plan": CODE}, {"targetingKey": CODE}, {}):
        assert client.boolean_details("odd", True, Context.of(user)).metadata["ruleId"]
    plain = Context.of({"targetingKey": "ann", "x": "y"})
    assert client.boolean_details("odd", True, plain).metadata["releaseId"] == "rel_1"


def test_flags_of_one_shape_share_the_compiled_code(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = [a_flag(f"flag-{n}", rules=[rule(n, equals("plan", f"p{n}"))]) for n in range(50)]
    client = Client.offline(a_snapshot(*flags))
    before = code_generation._compile_source.cache_info().misses
    for number in range(50):
        assert client.boolean(f"flag-{number}", True, Context("a", plan=f"p{number}")) is False
    assert code_generation._compile_source.cache_info().misses - before <= 1


class EqualToEverything(str):
    """A string that is equal to everything."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = str.__hash__


class RaisesOnComparison:
    """A value that cannot be compared."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    __hash__ = None  # type: ignore[assignment]


def test_a_string_is_compared_with_strings_only() -> None:
    rules = [
        rule(1, equals("plan", "pro")),
        rule(2, {"attribute": "plan", "operator": "in", "value": ["free", "pro"]}),
    ]
    client = Client.offline(a_snapshot(a_flag("checkout", rules=rules)))
    assert client.boolean("checkout", True, Context("ann", plan=RaisesOnComparison())) is True
    assert (
        client.boolean_details("checkout", False, Context("ann", plan=RaisesOnComparison())).variant
        == "on"
    )
    assert client.boolean("checkout", True, Context("ann", plan=EqualToEverything("x"))) is False


def test_many_rules_and_deep_conditions_compile() -> None:
    deep: dict[str, Any] = equals("plan", "pro")
    for level in range(20):
        deep = {"none": [{"all": [deep, equals("x", "y")]}]} if level % 2 else {"any": [deep]}
    rules = [rule(n, equals(f"a{n}", "x")) for n in range(600)]
    client = Client.offline(a_snapshot(a_flag("many", rules=[*rules, rule(600, deep)])))
    assert client.boolean("many", True, Context("ann", a599="x")) is False


def test_an_object_value_is_a_copy() -> None:
    variants = [{"key": "on", "value": {"sizes": [{"width": 1}]}}]
    flag = a_flag("theme", type="object", variants=variants, off_variant="on")
    client = Client.offline(a_snapshot(flag))
    for _ in range(2):
        for ask in (client.object, lambda *asked: client.object_details(*asked).value):
            value: dict[str, Any] = ask("theme", {})
            assert value == {"sizes": [{"width": 1}]}
            value["sizes"][0]["width"] = 2
            value["sizes"].append(3)


def test_a_number_flag_gives_each_number_as_the_type_asked_for() -> None:
    values = [1, 2.0, 2.5, 10**400]
    variants = [{"key": f"v{n}", "value": value} for n, value in enumerate(values)]

    def asked(*names: str) -> list[Any]:
        served = [
            a_flag(f"flag-{name}", type="number", default={"variant": name}, off_variant=name,
                   variants=[each for each in variants if each["key"] in names])
            for name in names
        ]  # fmt: skip
        client = Client.offline(a_snapshot(*served))
        answers = []
        for name in names:
            asks: list[tuple[Callable[..., Any], float]]
            asks = [(client.integer, 7), (client.float, 7.5)]
            for ask, default in asks:
                answer = ask(f"flag-{name}", default)
                assert repr(ask(f"flag-{name}", default)) == repr(answer)
                answers.append(answer)
        return [repr(each) for each in answers]

    assert asked("v0") == ["1", "1.0"]
    assert asked("v0", "v1", "v2") == ["1", "1.0", "2", "2.0", "7", "2.5"]
    assert asked("v0", "v3") == ["1", "1.0", str(10**400), "7.5"]
