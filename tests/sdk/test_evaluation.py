"""Compiled evaluation: equal to the naive evaluator, also after updates, and free of garbage."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tidegate import Context, wire
from tidegate.errors import WireError
from tidegate.evaluation.compiled_snapshot import CompiledSnapshot
from tidegate.evaluation.results import Evaluation

from tests.sdk import naive_evaluator
from tests.sdk.documents import a_flag, a_release, a_snapshot, compiled, prerequisites
from tests.sdk.snapshots import FLAGS, KEYS, contexts, percentages, snapshots, updates


def as_naive(evaluation: Evaluation) -> naive_evaluator.Result:
    return naive_evaluator.Result(
        evaluation.reason,
        evaluation.variant,
        evaluation.value,
        evaluation.error_code,
        dict(evaluation.metadata),
        tuple((each.release, each.step, each.stratum, each.arm) for each in evaluation.exposures),
    )


def answers(compiled: CompiledSnapshot, user: dict[str, Any]) -> dict[str, naive_evaluator.Result]:
    context = Context.of(user)
    return {key: as_naive(compiled.evaluate(key, context)) for key in [*FLAGS, "unknown"]}


@given(snapshots(), st.lists(contexts, min_size=1, max_size=5))
def test_compiled_evaluation_equals_naive_evaluation(
    document: dict[str, Any], flat_contexts: list[dict[str, Any]]
) -> None:
    ready = compiled(document)
    for user in flat_contexts:
        for key, answer in answers(ready, user).items():
            assert answer == naive_evaluator.evaluate(document, key, user), key


@given(snapshots(), st.data(), contexts)
def test_an_update_equals_the_whole_updated_snapshot(
    document: dict[str, Any], data: st.DataObject, user: dict[str, Any]
) -> None:
    ready = compiled(document)
    for _ in range(data.draw(st.integers(1, 3))):
        update = data.draw(updates(document["version"] + 1))
        document = updated(document, update)
        ready = ready.apply(wire.parse_update(update))
        whole = compiled(document)
        assert answers(ready, user) == answers(whole, user)
        assert ready.snapshot == whole.snapshot
        assert {key: flag.others for key, flag in ready.flags.items()} == {
            key: flag.others for key, flag in whole.flags.items()
        }
        assert (ready.releases, ready.killed) == (whole.releases, whole.killed)


def updated(document: dict[str, Any], update: dict[str, Any]) -> dict[str, Any]:
    after = {**document, "version": update["version"]}
    for part in ("flags", "segments"):
        both = {**document[part], **update[part]}
        after[part] = {key: value for key, value in both.items() if value is not None}
    return after


def variant(ready: CompiledSnapshot, key: str, user: str | None = "ann") -> str | None:
    return ready.evaluate(key, Context(user)).variant


# Cycles


@pytest.mark.parametrize("order", list(itertools.permutations("abcd")), ids="".join)
def test_flags_in_a_cycle_of_prerequisites_cannot_be_read(order: tuple[str, ...]) -> None:
    named = {"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"]}
    ready = compiled(
        a_snapshot(*(a_flag(k, prerequisites=prerequisites(*named[k])) for k in order))
    )
    for key in "abc":
        answer = ready.evaluate(key, Context("ann"))
        assert answer.error_code == "PARSE_ERROR"
        assert "form a cycle" in str(answer.error_message)
    assert variant(ready, "d") == "off"  # not part of the cycle


def test_a_flag_that_is_its_own_prerequisite_cannot_be_read() -> None:
    ready = compiled(a_snapshot(a_flag("a", prerequisites=prerequisites("a"))))
    assert ready.evaluate("a", Context()).error_code == "PARSE_ERROR"


@pytest.mark.parametrize("change", [{"killed": "on"}, {"enabled": False, "off_variant": "on"}])
def test_a_killed_or_disabled_flag_breaks_the_cycle(change: dict[str, Any]) -> None:
    cycle = compiled(
        a_snapshot(
            a_flag("a", prerequisites=prerequisites("b")),
            a_flag("b", prerequisites=prerequisites("a")),
        )
    )
    assert variant(cycle, "a") is None
    changed = a_flag("b", prerequisites=prerequisites("a"), **change)
    update = wire.parse_update({"version": 2, "flags": {"b": changed}, "segments": {}})
    after = cycle.apply(update)
    assert (variant(after, "a"), variant(after, "b")) == ("on", "on")


@pytest.mark.parametrize("order", list(itertools.permutations("abcd")), ids="".join)
def test_segments_in_a_cycle_contain_nobody(order: tuple[str, ...]) -> None:
    parts = {"a": "b", "b": "c", "c": "a", "d": "a"}
    segments = {
        key: {"when": {"any": [{"segment": parts[key]}, {"all": []}]}, "included": ["ann"]}
        for key in order
    }
    flags = [
        a_flag(
            f"in-{key}",
            default={"variant": "off"},
            rules=[{"id": "r", "when": {"segment": key}, "serve": {"variant": "on"}}],
        )
        for key in order
    ]
    ready = compiled(a_snapshot(*flags, **segments))
    assert [variant(ready, f"in-{key}") for key in "abcd"] == ["off", "off", "off", "on"]


def test_an_update_compiles_the_changed_flags_that_were_used_before() -> None:
    before = compiled(a_snapshot(*(a_flag(key) for key in ("used", "changed", "gone", "new"))))
    for key in ("used", "changed", "gone"):
        assert variant(before, key) == "on"
    off = {key: a_flag(key, default={"variant": "off"}) for key in ("changed", "new")}
    update = {"version": 2, "flags": {**off, "gone": None}, "segments": {}}
    after = before.apply(wire.parse_update(update))
    assert set(after.ready.booleans) == {"used", "changed"}
    assert variant(before, "changed") == "on"
    assert [variant(after, key) for key in ("changed", "new", "gone")] == ["off", "off", None]


def test_a_long_chain_is_not_a_cycle_and_causes_no_deep_recursion() -> None:
    length = 400
    chain = [
        a_flag(f"f{number}", prerequisites=prerequisites(f"f{number + 1}"))
        for number in range(length)
    ]
    segments: dict[str, Any] = {
        f"s{number}": {"when": {"segment": f"s{number + 1}"}} for number in range(length)
    }
    segments[f"s{length}"] = {"included": ["ann"]}
    rule = {"id": "r", "when": {"segment": "s0"}, "serve": {"variant": "off"}}
    ready = compiled(a_snapshot(*chain, a_flag(f"f{length}", rules=[rule]), **segments))
    assert (variant(ready, "f0", "ann"), variant(ready, "f0", "bob")) == ("off", "on")


@given(snapshots(), st.data(), st.lists(contexts, min_size=1, max_size=3))
def test_only_changed_flags_evaluate_differently(
    document: dict[str, Any], data: st.DataObject, flat_contexts: list[dict[str, Any]]
) -> None:
    before = compiled(document)
    if data.draw(st.booleans()):
        dict(before.flags)  # already compiled, or not
    after = before.apply(wire.parse_update(data.draw(updates(document["version"] + 1))))
    changed = after.changed_flags(before)
    for user in flat_contexts:
        earlier, later = answers(before, user), answers(after, user)
        assert {key for key in earlier if earlier[key] != later[key]} <= changed


# Parts that cannot be read


def test_the_error_of_an_unreadable_flag_names_the_field() -> None:
    ready = compiled(a_snapshot(a_flag("a", type="colour"), a_flag("b")))
    answer = ready.evaluate("a", Context())
    assert answer.error_code == "PARSE_ERROR"
    assert "/flags/a/type" in str(answer.error_message)
    assert variant(ready, "b") == "on"


def test_a_flag_that_names_an_unknown_variant_cannot_be_read() -> None:
    ready = compiled(a_snapshot(a_flag("a", default={"variant": "blue"}), a_flag("b")))
    answer = ready.evaluate("a", Context())
    assert answer.error_code == "PARSE_ERROR"
    assert "no variant 'blue'" in str(answer.error_message)


def test_a_flag_with_an_unreadable_prerequisite_serves_its_off_variant() -> None:
    ready = compiled(
        a_snapshot(a_flag("a", type=None), a_flag("b", prerequisites=prerequisites("a")))
    )
    assert variant(ready, "b") == "off"


def test_an_unreadable_segment_contains_nobody() -> None:
    rule = {"id": "r", "when": {"segment": "staff"}, "serve": {"variant": "off"}}
    wrong = {"included": ["ann"], "when": {"attribute": "a", "operator": "like", "value": 1}}
    ready = compiled(a_snapshot(a_flag("a", rules=[rule]), staff=wrong))
    assert variant(ready, "a") == "on"


def test_an_update_can_repair_and_break_a_flag() -> None:
    ready = compiled(a_snapshot(a_flag("a", type=1), a_flag("b", prerequisites=prerequisites("a"))))

    def change(version: int, document: Any) -> CompiledSnapshot:
        broken: dict[str, WireError] = {}
        update = wire.parse_update(
            {"version": version, "flags": {"a": document}, "segments": {}}, broken
        )
        return ready.apply(update, broken)

    ready = change(2, a_flag("a"))
    assert (variant(ready, "a"), variant(ready, "b"), dict(ready.broken)) == ("on", "on", {})
    ready = change(3, a_flag("a", salt=7))
    assert (variant(ready, "a"), variant(ready, "b"), list(ready.broken)) == (
        None,
        "off",
        ["flags/a"],
    )
    ready = change(4, None)
    assert ready.evaluate("a", Context()).error_code == "FLAG_NOT_FOUND"
    assert dict(ready.broken) == {}


def test_a_kill_works_on_a_flag_with_other_errors() -> None:
    wrong = a_flag("a", off_variant="blue", default={"variant": "red"}, killed="off")
    answer = compiled(a_snapshot(wrong)).evaluate("a", Context())
    assert (answer.variant, answer.metadata["killed"]) == ("off", True)


# Targeting keys and openings


@pytest.mark.parametrize("key", [None, 42, 4.2, True, b"ann", ["ann"]], ids=repr)
def test_a_percentage_needs_a_targeting_key_that_is_a_string(key: Any) -> None:
    half = {"split": [{"variant": "on", "weight": 50}, {"variant": "off", "weight": 50}]}
    ready = compiled(a_snapshot(a_flag("a", default=half), a_flag("b", release=a_release((5, [])))))
    context = Context("somebody")
    context.targeting_key = key
    for flag in "ab":
        answer = ready.evaluate(flag, context)
        assert answer.error_code == "TARGETING_KEY_MISSING"
        assert answer.exposures == ()


def test_a_fully_open_or_closed_release_needs_no_targeting_key() -> None:
    for percentage, expected in ((100, "on"), (0, "off")):
        ready = compiled(a_snapshot(a_flag("a", release=a_release((percentage, [])))))
        answer = ready.evaluate("a", Context())
        assert (answer.variant, len(answer.exposures)) == (expected, 1)


@given(st.sampled_from(KEYS), st.lists(percentages, min_size=2, max_size=6))
def test_nobody_loses_the_treatment_while_a_percentage_grows(key: str, ramp: list[float]) -> None:
    treated = False
    for percentage in sorted(ramp):
        ready = compiled(a_snapshot(a_flag("a", release=a_release((percentage, [])))))
        now = variant(ready, "a", key) == "on"
        assert now or not treated
        treated = now


@given(
    st.sampled_from(KEYS),
    st.lists(st.tuples(percentages, st.sampled_from([[], ["staff"], ["beta"]])), max_size=5),
)
def test_nobody_loses_the_treatment_when_a_stage_opens(
    key: str, openings: list[tuple[float, list[str]]]
) -> None:
    members = {"staff": {"included": KEYS[::2]}, "beta": {"included": KEYS[::3]}}
    treated = False
    for stage in range(len(openings) + 1):
        release = a_release(*openings[:stage])
        ready = compiled(a_snapshot(a_flag("a", release=release), **members))
        now = variant(ready, "a", key) == "on"
        assert now or not treated
        treated = now


# Cost


def test_evaluations_are_created_once() -> None:
    ready = compiled(a_snapshot(a_flag("a", release=a_release((50, [])))))
    ids = {id(ready.evaluate("a", Context(key))) for key in KEYS}
    assert len(ids) == 2


def test_an_update_compiles_only_what_it_changes() -> None:
    rule = {"id": "r", "when": {"segment": "inner"}, "serve": {"variant": "off"}}
    outer = {"id": "r", "when": {"segment": "outer"}, "serve": {"variant": "off"}}
    before = compiled(
        a_snapshot(
            a_flag("alone"),
            a_flag("prerequisite"),
            a_flag("dependent", prerequisites=prerequisites("prerequisite")),
            a_flag("targets", rules=[rule]),
            a_flag("nested", rules=[outer]),
            inner={"included": ["ann"]},
            outer={"when": {"segment": "inner"}},
        )
    )

    compiled_before = dict(before.flags)

    def kept(flags: dict[str, Any], segments: dict[str, Any]) -> set[str]:
        update = wire.parse_update({"version": 2, "flags": flags, "segments": segments})
        after = before.apply(update)
        return {key for key, flag in after.flags.items() if flag is compiled_before.get(key)}

    assert kept({}, {}) == {"alone", "prerequisite", "dependent", "targets", "nested"}
    assert kept({"prerequisite": a_flag("prerequisite")}, {}) == {"alone", "targets", "nested"}
    assert kept({}, {"inner": None}) == {"alone", "prerequisite", "dependent"}


@pytest.fixture
def garbage() -> Iterator[Callable[[], list[Any]]]:
    """Return the SDK's objects since the last call that only the garbage collector would free."""

    def collect() -> list[Any]:
        gc.collect()
        left = [each for each in gc.garbage if _module_of(each).startswith("tidegate.")]
        gc.garbage.clear()
        gc.freeze()  # ignore present objects from now on
        return left

    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        collect()
        yield collect
    finally:
        gc.set_debug(0)
        gc.unfreeze()
        gc.enable()


def _module_of(value: Any) -> str:
    definition = value if isinstance(value, FunctionType) else type(value)
    return str(definition.__module__)


def test_the_garbage_fixture_finds_a_reference_cycle(garbage: Callable[[], list[Any]]) -> None:
    error = WireError("", "")
    error.__cause__ = error
    del error
    assert [type(each) for each in garbage()] == [WireError]


@given(document=snapshots(), data=st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_replaced_snapshot_leaves_nothing_for_the_garbage_collector(
    garbage: Callable[[], list[Any]], document: dict[str, Any], data: st.DataObject
) -> None:
    document["flags"]["unreadable"] = {"key": 7}
    document["flags"]["circular"] = a_flag("circular", prerequisites=prerequisites("circular"))
    update = data.draw(updates(document["version"] + 1))
    update["segments"]["unreadable"] = {"key": 7}
    user = Context.of(data.draw(contexts))
    garbage()
    broken: dict[str, WireError] = {}
    ready = compiled(document)
    for key in ready.flags:
        ready.evaluate(key, user)
    ready = ready.apply(wire.parse_update(update, broken), broken)
    del ready, broken
    assert garbage() == []
