"""CompiledSnapshot evaluation: as the naive one, whole or in updates, and without leftovers."""

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
from tidegate.evaluation.results import Evaluation
from tidegate.evaluation.rule_set import CompiledSnapshot

from tests.sdk import naive_evaluator
from tests.sdk.documents import a_flag, a_release, a_snapshot, asking, compiled
from tests.sdk.snapshots import FLAGS, KEYS, contexts, percentages, snapshots, updates


def plainly(answer: Evaluation) -> naive_evaluator.Answer:
    return naive_evaluator.Answer(
        answer.reason,
        answer.variant,
        answer.value,
        answer.error_code,
        dict(answer.metadata),
        tuple((each.release, each.step, each.stratum, each.arm) for each in answer.exposures),
    )


def answers(compiled: CompiledSnapshot, whom: dict[str, Any]) -> dict[str, naive_evaluator.Answer]:
    context = Context.of(whom)
    return {key: plainly(compiled.evaluate(key, context)) for key in [*FLAGS, "unknown"]}


@given(snapshots(), st.lists(contexts, min_size=1, max_size=5))
def test_compiled_evaluation_is_naive_evaluation(
    document: dict[str, Any], people: list[dict[str, Any]]
) -> None:
    ready = compiled(document)
    for whom in people:
        for key, answer in answers(ready, whom).items():
            assert answer == naive_evaluator.ask(document, key, whom), key


@given(snapshots(), st.data(), contexts)
def test_an_update_gives_what_the_updated_snapshot_gives(
    document: dict[str, Any], data: st.DataObject, whom: dict[str, Any]
) -> None:
    ready = compiled(document)
    for _ in range(data.draw(st.integers(1, 3))):
        update = data.draw(updates(document["version"] + 1))
        document = updated(document, update)
        ready = ready.apply(wire.parse_update(update))
        whole = compiled(document)
        assert answers(ready, whom) == answers(whole, whom)
        assert ready.snapshot == whole.snapshot
        assert {key: flag.dependencies for key, flag in ready.flags.items()} == {
            key: flag.dependencies for key, flag in whole.flags.items()
        }
        assert (ready.releases, ready.killed) == (whole.releases, whole.killed)


def updated(document: dict[str, Any], update: dict[str, Any]) -> dict[str, Any]:
    after = {**document, "version": update["version"]}
    for part in ("flags", "segments"):
        both = {**document[part], **update[part]}
        after[part] = {key: value for key, value in both.items() if value is not None}
    return after


def variant(ready: CompiledSnapshot, key: str, whom: str | None = "ann") -> str | None:
    return ready.evaluate(key, Context(whom)).variant


# What leads back to itself


@pytest.mark.parametrize("order", list(itertools.permutations("abcd")), ids="".join)
def test_flags_that_wait_for_each_other_are_all_refused(order: tuple[str, ...]) -> None:
    asks = {"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"]}
    ready = compiled(a_snapshot(*(a_flag(k, prerequisites=asking(*asks[k])) for k in order)))
    for key in "abc":
        answer = ready.evaluate(key, Context("ann"))
        assert answer.error_code == "PARSE_ERROR"
        assert "lead back to it" in str(answer.error_message)
    assert variant(ready, "d") == "off"  # it only waits for them


def test_a_flag_that_waits_for_itself_is_refused() -> None:
    ready = compiled(a_snapshot(a_flag("a", prerequisites=asking("a"))))
    assert ready.evaluate("a", Context()).error_code == "PARSE_ERROR"


@pytest.mark.parametrize("change", [{"killed": "on"}, {"enabled": False, "off_variant": "on"}])
def test_a_flag_that_asks_nobody_any_more_ends_the_circle(change: dict[str, Any]) -> None:
    circle = compiled(
        a_snapshot(a_flag("a", prerequisites=asking("b")), a_flag("b", prerequisites=asking("a")))
    )
    assert variant(circle, "a") is None
    changed = a_flag("b", prerequisites=asking("a"), **change)
    update = wire.parse_update({"version": 2, "flags": {"b": changed}, "segments": {}})
    mended = circle.apply(update)
    assert (variant(mended, "a"), variant(mended, "b")) == ("on", "on")


@pytest.mark.parametrize("order", list(itertools.permutations("abcd")), ids="".join)
def test_segments_that_lead_back_to_themselves_hold_nobody(order: tuple[str, ...]) -> None:
    parts = {"a": "b", "b": "c", "c": "a", "d": "a"}
    segments = {
        key: {"when": {"any": [{"segment": parts[key]}, {"all": []}]}, "included": ["ann"]}
        for key in order
    }
    asking_each = [
        a_flag(
            f"in-{key}",
            default={"variant": "off"},
            rules=[{"id": "r", "when": {"segment": key}, "serve": {"variant": "on"}}],
        )
        for key in order
    ]
    ready = compiled(a_snapshot(*asking_each, **segments))
    assert [variant(ready, f"in-{key}") for key in "abcd"] == ["off", "off", "off", "on"]


def test_a_changed_flag_is_ready_for_who_asked_it_before() -> None:
    before = compiled(a_snapshot(*(a_flag(key) for key in ("asked", "changed", "gone", "new"))))
    for key in ("asked", "changed", "gone"):
        assert variant(before, key) == "on"
    off = {key: a_flag(key, default={"variant": "off"}) for key in ("changed", "new")}
    update = {"version": 2, "flags": {**off, "gone": None}, "segments": {}}
    after = before.apply(wire.parse_update(update))
    assert set(after.booleans) == {"asked", "changed"}
    assert variant(before, "changed") == "on"
    assert [variant(after, key) for key in ("changed", "new", "gone")] == ["off", "off", None]


def test_a_long_chain_is_no_circle_and_no_deep_recursion() -> None:
    length = 400
    chain = [
        a_flag(f"f{number}", prerequisites=asking(f"f{number + 1}")) for number in range(length)
    ]
    segments: dict[str, Any] = {
        f"s{number}": {"when": {"segment": f"s{number + 1}"}} for number in range(length)
    }
    segments[f"s{length}"] = {"included": ["ann"]}
    rule = {"id": "r", "when": {"segment": "s0"}, "serve": {"variant": "off"}}
    ready = compiled(a_snapshot(*chain, a_flag(f"f{length}", rules=[rule]), **segments))
    assert (variant(ready, "f0", "ann"), variant(ready, "f0", "bob")) == ("off", "on")


@given(snapshots(), st.data(), st.lists(contexts, min_size=1, max_size=3))
def test_only_flags_that_are_said_to_differ_answer_otherwise(
    document: dict[str, Any], data: st.DataObject, people: list[dict[str, Any]]
) -> None:
    before = compiled(document)
    if data.draw(st.booleans()):
        dict(before.flags)  # compiled already, or not
    after = before.apply(wire.parse_update(data.draw(updates(document["version"] + 1))))
    changed = after.changed_flags(before)
    for whom in people:
        then, now = answers(before, whom), answers(after, whom)
        assert {key for key in then if then[key] != now[key]} <= changed


# What cannot be read


def test_a_flag_that_cannot_be_read_says_where() -> None:
    ready = compiled(a_snapshot(a_flag("a", type="colour"), a_flag("b")))
    answer = ready.evaluate("a", Context())
    assert answer.error_code == "PARSE_ERROR"
    assert "/flags/a/type" in str(answer.error_message)
    assert variant(ready, "b") == "on"


def test_a_flag_that_names_no_variant_of_its_own_is_refused_when_it_is_asked() -> None:
    ready = compiled(a_snapshot(a_flag("a", default={"variant": "blue"}), a_flag("b")))
    answer = ready.evaluate("a", Context())
    assert answer.error_code == "PARSE_ERROR"
    assert "no variant 'blue'" in str(answer.error_message)


def test_a_flag_that_waits_for_an_unreadable_one_is_off() -> None:
    ready = compiled(a_snapshot(a_flag("a", type=None), a_flag("b", prerequisites=asking("a"))))
    assert variant(ready, "b") == "off"


def test_an_unreadable_segment_holds_nobody() -> None:
    rule = {"id": "r", "when": {"segment": "staff"}, "serve": {"variant": "off"}}
    wrong = {"included": ["ann"], "when": {"attribute": "a", "operator": "like", "value": 1}}
    ready = compiled(a_snapshot(a_flag("a", rules=[rule]), staff=wrong))
    assert variant(ready, "a") == "on"


def test_an_update_mends_and_breaks() -> None:
    ready = compiled(a_snapshot(a_flag("a", type=1), a_flag("b", prerequisites=asking("a"))))

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


def test_a_kill_works_on_a_flag_that_is_wrong_otherwise() -> None:
    wrong = a_flag("a", off_variant="blue", default={"variant": "red"}, killed="off")
    answer = compiled(a_snapshot(wrong)).evaluate("a", Context())
    assert (answer.variant, answer.metadata["killed"]) == ("off", True)


# Who is asking


@pytest.mark.parametrize("key", [None, 42, 4.2, True, b"ann", ["ann"]], ids=repr)
def test_a_percentage_needs_a_key_that_is_text(key: Any) -> None:
    half = {"split": [{"variant": "on", "weight": 50}, {"variant": "off", "weight": 50}]}
    ready = compiled(a_snapshot(a_flag("a", default=half), a_flag("b", release=a_release((5, [])))))
    context = Context("somebody")
    context.targeting_key = key
    for flag in "ab":
        answer = ready.evaluate(flag, context)
        assert answer.error_code == "TARGETING_KEY_MISSING"
        assert answer.exposures == ()


def test_a_fully_open_or_closed_release_needs_no_key() -> None:
    for percentage, expected in ((100, "on"), (0, "off")):
        ready = compiled(a_snapshot(a_flag("a", release=a_release((percentage, [])))))
        answer = ready.evaluate("a", Context())
        assert (answer.variant, len(answer.exposures)) == (expected, 1)


@given(st.sampled_from(KEYS), st.lists(percentages, min_size=2, max_size=6))
def test_nobody_flips_back_while_a_release_opens(key: str, ramp: list[float]) -> None:
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
def test_a_further_opening_takes_the_treatment_from_nobody(
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


# What it costs


def test_answers_are_made_ahead() -> None:
    ready = compiled(a_snapshot(a_flag("a", release=a_release((50, [])))))
    seen = {id(ready.evaluate("a", Context(key))) for key in KEYS}
    assert len(seen) == 2


def test_an_update_compiles_what_it_touches() -> None:
    rule = {"id": "r", "when": {"segment": "inner"}, "serve": {"variant": "off"}}
    outer = {"id": "r", "when": {"segment": "outer"}, "serve": {"variant": "off"}}
    before = compiled(
        a_snapshot(
            a_flag("alone"),
            a_flag("asked"),
            a_flag("asks", prerequisites=asking("asked")),
            a_flag("targets", rules=[rule]),
            a_flag("nested", rules=[outer]),
            inner={"included": ["ann"]},
            outer={"when": {"segment": "inner"}},
        )
    )

    asked = dict(before.flags)

    def kept(flags: dict[str, Any], segments: dict[str, Any]) -> set[str]:
        update = wire.parse_update({"version": 2, "flags": flags, "segments": segments})
        after = before.apply(update)
        return {key for key, flag in after.flags.items() if flag is asked.get(key)}

    assert kept({}, {}) == {"alone", "asked", "asks", "targets", "nested"}
    assert kept({"asked": a_flag("asked")}, {}) == {"alone", "targets", "nested"}
    assert kept({}, {"inner": None}) == {"alone", "asked", "asks"}


@pytest.fixture
def garbage() -> Iterator[Callable[[], list[Any]]]:
    """Tells what of the SDK's only the garbage collector would have freed, since the last time."""

    def collect() -> list[Any]:
        gc.collect()
        left = [each for each in gc.garbage if _module_of(each).startswith("tidegate.")]
        gc.garbage.clear()
        gc.freeze()  # what is there now is not looked at again
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


def _module_of(thing: Any) -> str:
    made = thing if isinstance(thing, FunctionType) else type(thing)
    return str(made.__module__)


def test_garbage_would_be_seen(garbage: Callable[[], list[Any]]) -> None:
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
    document["flags"]["circular"] = a_flag("circular", prerequisites=asking("circular"))
    update = data.draw(updates(document["version"] + 1))
    update["segments"]["unreadable"] = {"key": 7}
    whom = Context.of(data.draw(contexts))
    garbage()
    broken: dict[str, WireError] = {}
    ready = compiled(document)
    for key in ready.flags:
        ready.evaluate(key, whom)
    ready = ready.apply(wire.parse_update(update, broken), broken)
    del ready, broken
    assert garbage() == []
