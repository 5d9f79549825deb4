from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate import Client, Context
from tidegate.evaluation import code_generation

from tests.sdk.documents import a_flag, a_release, a_snapshot
from tests.sdk.snapshots import FLAGS, contexts, snapshots

ODD = "'); raise SystemExit  # \\ \n {0} %s"
"""What would end a program if it ever became one."""


def rule(number: int, when: dict[str, Any], variant: str = "off") -> dict[str, Any]:
    return {"id": f"rule-{number}", "when": when, "serve": {"variant": variant}}


def equals(attribute: str, value: str) -> dict[str, Any]:
    return {"attribute": attribute, "operator": "equals", "value": value}


@given(snapshots(), st.lists(contexts, min_size=1, max_size=3))
@settings(max_examples=60)
def test_the_quick_way_gives_and_counts_what_the_long_way_does(
    document: dict[str, Any], people: list[dict[str, Any]]
) -> None:
    client = Client.offline(document)
    for key in FLAGS:
        for whom in people:
            context = Context.of(whom)
            for other in (context, None):
                for _ in range(2):  # the first question compiles
                    with client.operation(context) as quick:
                        value = client.boolean(key, True, other)
                        assert client.boolean(key, True, other) is value
                    with client.operation(context) as slow:
                        details = client.boolean_details(key, True, other)
                    assert value is details.value
                    assert quick.exposures == slow.exposures
                    assert quick.other_keys == slow.other_keys


def test_what_people_wrote_is_never_source() -> None:
    segment = {"key": ODD, "included": [ODD]}
    rules = [
        rule(1, equals(ODD, ODD)),
        rule(2, {"attribute": "plan", "operator": "in", "value": [ODD]}),
        rule(3, {"segment": ODD}),
        rule(4, {"any": [equals(f"{ODD}.x", ODD), {"none": [equals("x", "y")]}]}),
    ]
    flag = a_flag("odd", salt=ODD, rules=rules, release=a_release((50, []), salt=ODD))
    client = Client.offline(a_snapshot(flag, **{ODD: segment}))
    for whom in ({ODD: ODD}, {"plan": ODD}, {"targetingKey": ODD}, {}):
        assert client.boolean_details("odd", True, Context.of(whom)).metadata["ruleId"]
    plain = Context.of({"targetingKey": "ann", "x": "y"})
    assert client.boolean_details("odd", True, plain).metadata["releaseId"] == "rel_1"


def test_flags_of_one_shape_are_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = [a_flag(f"flag-{n}", rules=[rule(n, equals("plan", f"p{n}"))]) for n in range(50)]
    client = Client.offline(a_snapshot(*flags))
    before = code_generation._compile_source.cache_info().misses
    for number in range(50):
        assert client.boolean(f"flag-{number}", True, Context("a", plan=f"p{number}")) is False
    assert code_generation._compile_source.cache_info().misses - before <= 1


class Contrary(str):
    """Text that is equal to everything."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = str.__hash__


class Hostile:
    """A value that cannot be compared."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    __hash__ = None  # type: ignore[assignment]


def test_only_text_is_compared_with_text() -> None:
    rules = [
        rule(1, equals("plan", "pro")),
        rule(2, {"attribute": "plan", "operator": "in", "value": ["free", "pro"]}),
    ]
    client = Client.offline(a_snapshot(a_flag("checkout", rules=rules)))
    assert client.boolean("checkout", True, Context("ann", plan=Hostile())) is True
    assert client.boolean_details("checkout", False, Context("ann", plan=Hostile())).variant == "on"
    assert client.boolean("checkout", True, Context("ann", plan=Contrary("x"))) is False


def test_many_rules_and_deep_conditions_are_no_trouble() -> None:
    deep: dict[str, Any] = equals("plan", "pro")
    for level in range(20):
        deep = {"none": [{"all": [deep, equals("x", "y")]}]} if level % 2 else {"any": [deep]}
    rules = [rule(n, equals(f"a{n}", "x")) for n in range(600)]
    client = Client.offline(a_snapshot(a_flag("many", rules=[*rules, rule(600, deep)])))
    assert client.boolean("many", True, Context("ann", a599="x")) is False
