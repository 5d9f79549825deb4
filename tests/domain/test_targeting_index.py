"""The index of targetings says what each of them names, also after some have changed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tidegate.model import InSegment, Prerequisite, Rule, Serve
from tidegate_server.domain.change import Stored
from tidegate_server.domain.flags import Kill, Targeting
from tidegate_server.domain.targeting_index import index_targetings, updated_index

FLAGS = st.sampled_from("abcd")
SEGMENTS = st.sampled_from(["staff", "beta"])


@st.composite
def targetings(draw: st.DrawFn) -> dict[str, Stored]:
    found = {}
    for flag in draw(st.sets(FLAGS)):
        rules = [
            Rule(f"rule-{segment}", InSegment(segment), Serve("on"))
            for segment in draw(st.sets(SEGMENTS))
        ]
        found[flag] = Stored(
            Targeting(
                flag,
                enabled=True,
                off_variant="off",
                default=Serve("on"),
                rules=tuple(rules),
                prerequisites=tuple(Prerequisite(each, ("on",)) for each in draw(st.sets(FLAGS))),
                release=draw(st.sampled_from([None, f"rel_{flag}"])),
                kill=draw(st.sampled_from([None, Kill("ana", "It burns.", 1)])),
            ),
            1,
            1,
        )
    return found


@given(targetings(), targetings(), st.sets(FLAGS))
def test_an_updated_index_equals_a_new_one(
    before: dict[str, Stored], after: dict[str, Stored], touched: set[str]
) -> None:
    changed = touched | {key for key in {*before, *after} if before.get(key) != after.get(key)}
    updated = updated_index(index_targetings(before), before, after, changed)
    assert updated == index_targetings(after)


@given(targetings())
def test_an_index_names_what_targetings_name(found: dict[str, Stored]) -> None:
    index = index_targetings(found)
    for flag, stored in found.items():
        targeting: Targeting = stored.document
        for each in targeting.prerequisites:
            assert flag in index.requiring[each.flag]
        for rule in targeting.rules:
            assert isinstance(rule.when, InSegment)
            assert flag in index.naming[rule.when.segment]
        assert index.released.get(flag) == targeting.release
        assert (flag in index.killed) == (targeting.kill is not None)
    assert set().union(*index.requiring.values(), *index.naming.values()) <= found.keys()
