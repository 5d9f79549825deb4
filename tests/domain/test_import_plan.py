"""An import of a whole configuration as one change: the same as its edits one by one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tidegate.model import Comparison, InSegment, Prerequisite, Rule, Serve
from tidegate_server.domain import flag_edits, segment_edits
from tidegate_server.domain.change import Address, Delete, Guard, Put
from tidegate_server.domain.configuration import Configuration, ImportPlan, WantedFlag
from tidegate_server.domain.flags import FlagDefinition, SegmentDefinition, Targeting
from tidegate_server.domain.import_plan import plan_import
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.projects import Environment

from tests.domain.builders import OFF, ON, InMemoryStore, guarded_kinds

FLAGS = ("a", "b", "c", "d")
SEGMENTS = ("s", "t", "u")
ENVIRONMENTS = ("production", "staging")


def plan(store: InMemoryStore, wanted: Configuration) -> ImportPlan:
    return plan_import(store.documents, wanted, actor="ana", now_ms=1)


def states() -> st.SearchStrategy[Configuration]:
    """Return whole configurations, whose flags require only earlier ones, and segments too."""

    @st.composite
    def build(draw: st.DrawFn) -> Configuration:
        segments: dict[str, SegmentDefinition] = {}
        for key in draw(st.sets(st.sampled_from(SEGMENTS))):
            earlier = [each for each in segments if each < key]
            when = draw(
                st.sampled_from(
                    [None, Comparison("plan", "equals", "pro"), *map(InSegment, earlier)]
                )
            )
            segments[key] = SegmentDefinition(
                key, when, tuple(draw(st.sets(st.sampled_from("xyz"))))
            )
        flags: dict[str, WantedFlag] = {}
        for key in sorted(draw(st.sets(st.sampled_from(FLAGS)))):
            archived = draw(st.booleans())
            serving = [each for each, wanted in flags.items() if not wanted.archived]
            definition = FlagDefinition(
                key, "boolean", (ON, OFF), "", draw(st.sampled_from(["", "x"]))
            )
            targetings = {
                environment: Targeting(
                    key,
                    draw(st.booleans()),
                    "off",
                    Serve(variant=draw(st.sampled_from(["on", "off"]))),
                    tuple(
                        Rule(f"r{name}", InSegment(name), Serve(variant="on"))
                        for name in sorted(draw(st.sets(st.sampled_from(sorted(segments) or [""]))))
                        if name
                    ),
                    tuple(
                        Prerequisite(name, ("on",))
                        for name in sorted(
                            draw(st.sets(st.sampled_from(serving or [""]), max_size=2))
                        )
                        if name
                    ),
                )
                for environment in ENVIRONMENTS
            }
            flags[key] = WantedFlag(definition, archived, targetings)
        return Configuration(flags=flags, segments=segments, prune=draw(st.booleans()))

    return build()


@given(st.lists(states(), min_size=1, max_size=3))
def test_a_project_is_as_the_configuration_says_after_its_import(
    wanted: list[Configuration],
) -> None:
    store = InMemoryStore(*ENVIRONMENTS)
    for each in wanted:
        planned = plan(store, each)
        if planned.problems:
            # Only a prune of what is in use or not archived, or archiving what is required.
            for problem in planned.problems:
                listed = {*(each.flags or {}), *(each.segments or {})}
                pruned = problem.address.key not in listed
                assert pruned or "used by" in problem.problem.detail, problem
            assert planned.change is None
            continue
        if planned.change is not None:
            store.commit(planned.change)  # which compares snapshots with documents
        again = plan(store, each)
        assert (again.writes, again.problems, again.change) == ((), (), None)
        documents = store.documents
        for key, flag in (each.flags or {}).items():
            stored: FlagDefinition = documents.flag(key).document
            assert (stored.archived is not None) == flag.archived
            assert stored.name == flag.definition.name
            for environment, targeting in flag.targetings.items():
                found: Targeting = documents.targeting(environment, key).document
                assert replace(found, disabled=None) == targeting
        if each.prune:
            assert documents.flags.keys() == (each.flags or {}).keys()
            assert documents.segments.keys() == (each.segments or {}).keys()


@given(states())
def test_an_import_is_the_same_as_its_edits_one_by_one(wanted: Configuration) -> None:
    at_once, one_by_one = InMemoryStore(*ENVIRONMENTS), InMemoryStore(*ENVIRONMENTS)
    planned = plan(at_once, wanted)
    assert planned.problems == ()
    if planned.change is not None:
        at_once.commit(planned.change)
    for key in sorted(wanted.segments or {}):
        segment = (wanted.segments or {})[key]
        one_by_one.commit(
            segment_edits.put_segment(one_by_one.documents, segment, actor="ana", now_ms=1)
        )
    for flag in (wanted.flags or {}).values():
        one_by_one.commit(flag_edits.new_flag(one_by_one.documents, flag.definition, actor="ana"))
        for environment, targeting in flag.targetings.items():
            documents = one_by_one.documents
            one_by_one.commit(
                flag_edits.edit_targeting(documents, environment, targeting, actor="ana", now_ms=1)
            )
    for key, flag in reversed(list((wanted.flags or {}).items())):
        if flag.archived:
            documents = one_by_one.documents
            one_by_one.commit(flag_edits.archive_flag(documents, key, actor="ana", now_ms=1))
    assert contents(at_once) == contents(one_by_one)


def contents(store: InMemoryStore) -> Mapping[Any, Any]:
    """Return the documents without their revisions, which count the edits."""
    documents = store.documents
    found: dict[Any, Any] = {
        **{(Kind.FLAG, key): each.document for key, each in documents.flags.items()},
        **{(Kind.SEGMENT, key): each.document for key, each in documents.segments.items()},
    }
    for environment, targetings in documents.targetings.items():
        for key, each in targetings.items():
            found[environment, key] = each.document
    return found


def test_each_document_is_written_once_at_the_revision_that_was_read() -> None:
    store = InMemoryStore(*ENVIRONMENTS)
    flag = FlagDefinition("a", "boolean", (ON, OFF), "")
    store.commit(flag_edits.new_flag(store.documents, flag, actor="ana"))
    on = Targeting("a", True, "off", Serve(variant="on"))
    wanted = WantedFlag(replace(flag, name="A"), False, {"production": on})
    change = plan(store, Configuration(flags={"a": wanted})).change
    assert change is not None
    written = [each for each in change.writes if not isinstance(each, Guard)]
    assert [(each.address.kind, each.address.environment, each.expected) for each in written] == [
        (Kind.FLAG, "", 1),
        (Kind.TARGETING, "production", 1),
    ]
    assert all(isinstance(each, Put) and each.before is not None for each in written)
    # Its targeting elsewhere is guarded, because its version in the snapshot follows from it.
    assert Guard(Address(Kind.TARGETING, "a", "staging"), 1) in change.writes
    versions = {each.environment: each.flags["a"] for each in change.refreshes}
    assert [getattr(versions[name], "version") for name in ENVIRONMENTS] == [4, 3]  # noqa: B009


def test_a_prune_guards_everything_that_could_use_what_it_deletes() -> None:
    store = InMemoryStore("production")
    store.commit(
        segment_edits.put_segment(store.documents, SegmentDefinition("s"), actor="ana", now_ms=1)
    )
    store.commit(
        flag_edits.new_flag(
            store.documents, FlagDefinition("a", "boolean", (ON, OFF), ""), actor="ana"
        )
    )
    change = plan(store, Configuration(segments={}, prune=True)).change
    assert change is not None
    assert [each.address for each in change.writes if isinstance(each, Delete)] == [
        Address(Kind.SEGMENT, "s")
    ]
    assert guarded_kinds(change) >= {(Kind.TARGETING, "production"), (Kind.FLAG, "")}


def test_a_flag_that_applications_still_ask_for_is_not_pruned() -> None:
    store = InMemoryStore("production")
    flag = FlagDefinition("a", "boolean", (ON, OFF), "")
    store.commit(flag_edits.new_flag(store.documents, flag, actor="ana"))
    store.commit(flag_edits.archive_flag(store.documents, "a", actor="ana", now_ms=1))
    planned = plan_import(
        store.documents,
        Configuration(flags={}, prune=True),
        actor="ana",
        now_ms=2,
        still_asked={"a": ("Asked for in production by 'shop'.",)},
    )
    [problem] = planned.problems
    assert "by 'shop'" in problem.problem.detail
    assert planned.change is None


def test_a_new_environment_guards_every_flag() -> None:
    store = InMemoryStore("production")
    flag = FlagDefinition("a", "boolean", (ON, OFF), "")
    store.commit(flag_edits.new_flag(store.documents, flag, actor="ana"))
    wanted = Configuration(environments={"staging": Environment("staging")})
    change = plan(store, wanted).change
    assert change is not None
    assert (Kind.FLAG, "") in guarded_kinds(change)
    [refresh] = change.refreshes
    assert (refresh.environment, list(refresh.flags)) == ("staging", ["a"])
