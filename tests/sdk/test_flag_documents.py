"""Flags kept as JSON: what a new snapshot keeps, and what of it is decoded when."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate import Client, Context, wire
from tidegate.errors import WireError
from tidegate.evaluation.compiled_snapshot import COMPILED_AT_ONCE, compile_snapshot
from tidegate.evaluation.key_sets import KeySet
from tidegate.flag_follower import FlagFollower
from tidegate.reporting import Reporter

from tests.sdk.documents import (
    KEY_SETS,
    a_flag,
    a_release,
    a_snapshot,
    compiled,
    prerequisites,
)
from tests.sdk.snapshots import FLAGS, contexts, snapshots
from tests.sdk.test_evaluation import answers


class NoSource:
    """A source that is never asked."""

    def snapshot(self) -> bytes:
        raise AssertionError

    def key_set(self, wanted: object, known: object) -> KeySet:
        raise AssertionError

    def report(self, report: object) -> bool:
        raise AssertionError


@given(snapshots(), snapshots(), st.lists(contexts, min_size=1, max_size=3), st.data())
def test_a_snapshot_after_another_equals_the_snapshot_alone(
    one: dict[str, Any], other: dict[str, Any], users: list[dict[str, Any]], data: st.DataObject
) -> None:
    for kind in ("flags", "segments"):
        kept = data.draw(st.sets(st.sampled_from(sorted(one[kind]) or [""])))
        other[kind] |= {key: one[kind][key] for key in kept if key in one[kind]}
    before, alone = compiled(one), compiled(other)
    for user in users:
        answers(before, user)
    broken: dict[str, WireError] = {}
    after = compile_snapshot(wire.parse_snapshot(other, broken), broken, before, KEY_SETS)
    changed = after.changed_flags(before)
    for user in users:
        earlier, later = answers(before, user), answers(after, user)
        assert later == answers(alone, user)
        assert {key for key in FLAGS if earlier[key] != later[key]} <= changed


def test_a_whole_snapshot_keeps_what_it_does_not_change() -> None:
    rule = {"id": "r", "when": {"segment": "staff"}, "serve": {"variant": "off"}}
    document = a_snapshot(
        a_flag("same"),
        a_flag("changed"),
        a_flag("gone"),
        a_flag("dependent", prerequisites=prerequisites("changed")),
        a_flag("targets", rules=[rule]),
        staff={"included": ["ann"]},
    )
    follower = FlagFollower(NoSource(), Reporter())
    before = follower.take_snapshot(json.dumps(document))
    compiled_before = dict(before.flags)
    document["flags"].pop("gone")
    document["flags"]["changed"]["version"] = 2
    document["segments"]["staff"]["included"] = ["bob"]
    after = follower.take_snapshot(json.dumps({**document, "version": 2}))
    assert {key for key in after.flags if after.flags[key] is compiled_before[key]} == {"same"}
    assert after.changed_flags(before) == {"changed", "gone", "dependent", "targets"}
    assert after.evaluate("targets", Context("ann")).variant == "on"


def test_a_large_snapshot_is_parsed_with_pauses() -> None:
    document = json.dumps(a_snapshot(*(a_flag(f"flag-{number}") for number in range(500))))
    pauses: list[None] = []
    FlagFollower(NoSource(), Reporter(), None, lambda: pauses.append(None)).take_snapshot(document)
    assert len(document) // wire.SLICE_BYTES / 2 < len(pauses) < len(document) // 16_000


def test_an_update_is_compiled_with_pauses() -> None:
    keys = [f"flag-{number}" for number in range(40)]
    pauses: list[None] = []
    follower = FlagFollower(NoSource(), Reporter(), None, lambda: pauses.append(None))
    flags = follower.take_snapshot(json.dumps(a_snapshot(*map(a_flag, keys))))
    for key in keys:
        assert flags.flag(key)  # flags used before are compiled again by the update
    pauses.clear()
    changed = {key: a_flag(key, version=2) for key in keys}
    follower.take_update({"version": 2, "flags": changed, "segments": {}})
    assert len(pauses) == len(keys) // COMPILED_AT_ONCE + 1
    pauses.clear()
    changed = {keys[0]: a_flag(keys[0], version=3)}
    follower.take_update({"version": 3, "flags": changed, "segments": {}})
    assert len(pauses) == 2


def test_the_index_follows_updates() -> None:
    ready = compiled(a_snapshot(a_flag("a", killed="off"), a_flag("b", client_side=True)))
    released = a_flag("b", release=a_release((50, [])))
    flags = {"a": a_flag("a"), "b": released, "c": a_flag("c", killed="on", client_side=True)}
    after = ready.apply(wire.parse_update({"version": 2, "flags": flags, "segments": {}}))
    assert (ready.killed, set(ready.releases)) == ({"a"}, set())
    assert (after.killed, set(after.releases)) == ({"c"}, {"b"})
    assert after.flags.documents.client_side == {"c"}
    assert wire.parse_snapshot(wire.encode_snapshot(after.snapshot)) == after.snapshot


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"metadata": {"a": 1, "b~/c": None}}, "/metadata/b~0~1c: must be true, false, a number"),
        ({"variants": [{"key": "on"}]}, "/variants/0/value: is missing"),
        ({"version": 1.5}, "/version: must be a whole number"),
        ({"enabled": 1}, "/enabled: must be true or false"),
        ({"killed": 7}, "/killed: must be a string or null"),
        ({"rules": {}}, "/rules: must be a list"),
        ({"release": []}, "/release: must be an object or null"),
        ({"release": a_release((1e400, []))}, "/release/openings/0/percentage: must be a"),
        ({"default": {}}, "/default: give either a variant or a split"),
        ({"rules": [{"id": "r", "when": {"all": [{"segment": 7}]}, "serve": {"variant": "on"}}]},
         "/rules/0/when/all/0/segment: must be a string"),
        ({"type": "colour"}, "/type: must be one of boolean, string, number, object"),
    ],
)  # fmt: skip
def test_an_error_names_the_field_and_what_it_must_be(change: dict[str, Any], error: str) -> None:
    with pytest.raises(WireError) as refused:
        wire.parse_flag({**a_flag("a"), **change})
    assert str(refused.value).startswith(error)


def test_threads_that_evaluate_a_flag_at_the_same_time_for_the_first_time_agree() -> None:
    names = [f"flag-{number}" for number in range(200)]
    client = Client.offline(a_snapshot(*(a_flag(name) for name in names)))
    start = threading.Barrier(4)
    wrong: list[str] = []

    def evaluate() -> None:
        start.wait()
        wrong.extend(name for name in names if client.boolean(name, False) is not True)

    threads = [threading.Thread(target=evaluate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    flags = client._flags
    assert flags is not None
    assert {key: ready[0] for key, ready in flags.ready.booleans.items()} == {
        key: flags.flags[key].evaluate for key in names
    }
