from __future__ import annotations

from dataclasses import replace

import pytest
from tidegate.model import (
    All,
    AnyOf,
    Comparison,
    Condition,
    InSegment,
    NoneOf,
    Prerequisite,
    Rule,
    Variant,
)
from tidegate_server.domain import flag_edits, project_edits
from tidegate_server.domain.change import Change
from tidegate_server.domain.flags import FlagDefinition, SegmentDefinition
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.project_documents import (
    flag_address,
    release_address,
    segment_address,
    targeting_address,
)
from tidegate_server.domain.projects import Environment
from tidegate_server.domain.release import State
from tidegate_server.errors import AlreadyExists, Invalid, NotFound, NotPossible, StaleRevision

from tests.domain.builders import (
    CHECKOUT_IN_PRODUCTION,
    OFF,
    ON,
    InMemoryStore,
    checkout,
    guarded,
    guarded_kinds,
    pointers,
    problems,
    serving,
    store_with_checkout,
    written,
)

COLOUR = FlagDefinition(
    "colour", "string", (Variant("red", "#f00"), Variant("blue", "#00f")), salt=""
)
STAFF_BY_NAME = Rule("ana", Comparison("targetingKey", "equals", "ana"), serving("on"))
STAFF = Rule("staff", InSegment("staff"), serving("on"))


@pytest.fixture
def store() -> InMemoryStore:
    return store_with_checkout()


def edit(store: InMemoryStore, now_ms: int = 500, **to: object) -> Change:
    after = replace(store.documents.flag("checkout").document, **to)
    return store.commit(flag_edits.edit_flag(store.documents, after, actor="ana", now_ms=now_ms))


# Creating ----------------------------------------------------------------------------


def test_a_new_flag_is_enabled_everywhere_and_serves_off(store: InMemoryStore) -> None:
    for environment in ("production", "staging"):
        flag = store.flags[environment]["checkout"]
        assert (flag.enabled, flag.off_variant, flag.default) == (True, "off", serving("off"))
        assert (flag.salt, flag.version) == ("checkout", 2)


def test_a_new_flag_guards_its_environments() -> None:
    store = InMemoryStore("production", "staging")
    change = store.commit(flag_edits.new_flag(store.documents, checkout(), actor="ana"))
    assert guarded_kinds(change) == {(Kind.ENVIRONMENT, "")}
    assert store.audits[-1].details == {"type": "boolean", "variants": "on, off"}


def test_without_a_variant_off_a_new_flag_serves_false_or_the_first_variant() -> None:
    named = checkout(variants=(Variant("yes", True), Variant("no", False)))
    assert flag_edits.first_targeting(named).off_variant == "no"
    assert flag_edits.first_targeting(COLOUR).off_variant == "red"


def test_an_imported_flag_keeps_its_salt(store: InMemoryStore) -> None:
    store.add_flag(replace(COLOUR, salt="imported"))
    assert store.flags["production"]["colour"].salt == "imported"


def test_a_flag_key_is_unique(store: InMemoryStore) -> None:
    with pytest.raises(AlreadyExists):
        store.add_flag(checkout())


# Editing the definition --------------------------------------------------------------


def test_an_edit_reaches_every_environment(store: InMemoryStore) -> None:
    change = edit(store, variants=(ON, OFF, Variant("maybe", True)))
    assert len(store.flags["production"]["checkout"].variants) == 3
    assert len(store.flags["staging"]["checkout"].variants) == 3
    assert store.flags["staging"]["checkout"].version == 3
    assert guarded(change) == {
        CHECKOUT_IN_PRODUCTION,
        targeting_address("staging", "checkout"),
    }
    assert store.audits[-1].details["changed"] == "variants"


def test_an_edit_without_changes_only_guards(store: InMemoryStore) -> None:
    entries = len(store.audits)
    change = edit(store)
    assert guarded(change) == {flag_address("checkout")}
    assert (len(change.writes), len(store.audits)) == (1, entries)


def test_true_and_one_are_different_values(store: InMemoryStore) -> None:
    store.add_flag(
        FlagDefinition("limits", "object", (Variant("a", {"x": 1}), Variant("b", {})), salt="")
    )
    after = replace(
        store.documents.flag("limits").document,
        variants=(Variant("a", {"x": True}), Variant("b", {})),
    )
    store.commit(flag_edits.edit_flag(store.documents, after, actor="ana", now_ms=1))
    assert store.flags["production"]["limits"].variants[0].value == {"x": True}
    assert store.flags["production"]["limits"].variants[0].value["x"] is True


def test_type_and_salt_cannot_change(store: InMemoryStore) -> None:
    after = FlagDefinition("checkout", "string", (Variant("on", "1"), Variant("off", "0")), "x")
    with pytest.raises(Invalid) as caught:
        flag_edits.edit_flag(store.documents, after, actor="ana", now_ms=1)
    assert pointers(caught.value) == ["/type", "/salt"]


def test_an_edit_without_a_salt_keeps_it(store: InMemoryStore) -> None:
    edit(store, salt="", name="Checkout")
    assert store.flags["production"]["checkout"].salt == "checkout"


def test_a_variant_in_use_cannot_be_removed(store: InMemoryStore) -> None:
    three = (ON, OFF, Variant("beta", True))
    edit(store, variants=three)
    store.edit_targeting(rules=(Rule("all", All(()), serving("beta")),))
    store.edit_targeting("staging", kill_variant="beta")
    store.add_flag(COLOUR)
    store.edit_targeting(flag="colour", prerequisites=(Prerequisite("checkout", ("beta",)),))
    with pytest.raises(Invalid) as caught:
        edit(store, variants=(ON, OFF))
    assert problems(caught.value) == {
        "/variants": "Variant 'beta' cannot be removed: it is used by rule all in production, "
        "the prerequisite of flag colour in production, the kill variant in staging. Change that "
        "first."
    }


def test_the_variants_of_an_active_release_cannot_be_removed(store: InMemoryStore) -> None:
    edit(store, variants=(ON, OFF, Variant("beta", True)))
    store.start(treatment="beta")
    with pytest.raises(Invalid, match="release rel_1 in production"):
        edit(store, variants=(ON, OFF))


def test_an_unused_variant_can_be_removed(store: InMemoryStore) -> None:
    edit(store, variants=(ON, OFF, Variant("beta", True)))
    edit(store, variants=(ON, OFF))
    assert store.flags["production"]["checkout"].variants == (ON, OFF)


def test_a_concurrent_prerequisite_prevents_the_removal_of_its_variant(
    store: InMemoryStore,
) -> None:
    store.add_flag(COLOUR)
    edit(store, variants=(ON, OFF, Variant("beta", True)))
    after = replace(store.documents.flag("checkout").document, variants=(ON, OFF))
    removal = flag_edits.edit_flag(store.documents, after, actor="ana", now_ms=1)
    store.edit_targeting(flag="colour", prerequisites=(Prerequisite("checkout", ("beta",)),))
    with pytest.raises(StaleRevision):
        store.commit(removal)


def test_a_new_value_of_a_compared_variant_restarts_the_evidence(store: InMemoryStore) -> None:
    store.add_flag(COLOUR)
    store.start(flag="colour", treatment="blue")
    store.start("staging", flag="colour", treatment="blue", release_id="rel_2")
    after = replace(COLOUR, variants=(Variant("red", "#f00"), Variant("blue", "#00e")))
    change = store.commit(flag_edits.edit_flag(store.documents, after, actor="ana", now_ms=500))
    for environment, key in (("production", "rel_1"), ("staging", "rel_2")):
        release = store.release(environment, "colour")
        assert (release.id, release.step, release.attempt, release.stage) == (key, 2, 2, 1)
        assert (release.stage_entered_ms, release.state) == (500, State.RUNNING)
        assert "evidence starts again" in release.reason
        shown = store.flags[environment]["colour"].release
        assert shown is not None
        assert shown.step == 2
        assert release_address(environment, release) in written(change)
    assert store.audits[-1].details["evidence_restarted"] == "rel_1, rel_2"


def test_a_new_value_of_another_variant_does_not_affect_the_release(store: InMemoryStore) -> None:
    green = Variant("green", "#0f0")
    store.add_flag(replace(COLOUR, variants=(*COLOUR.variants, green)))
    store.start(flag="colour", treatment="blue")
    after = replace(COLOUR, variants=(*COLOUR.variants, Variant("green", "#0e0")))
    change = store.commit(flag_edits.edit_flag(store.documents, after, actor="ana", now_ms=500))
    assert store.release(flag="colour").step == 1
    assert release_address("production", "rel_1") in guarded(change)


# Deleting ----------------------------------------------------------------------------


def test_a_flag_is_deleted_in_every_environment(store: InMemoryStore) -> None:
    store.kill()
    change = store.commit(
        flag_edits.delete_flag(store.documents, "checkout", actor="ana", force=True)
    )
    assert store.flags == {"production": {}, "staging": {}}
    assert {each.environment: each.restored for each in change.refreshes} == {
        "production": ("checkout",),
        "staging": (),
    }
    store.add_flag(checkout())
    assert store.flags["production"]["checkout"].version == 2


def test_a_prerequisite_cannot_be_deleted(store: InMemoryStore) -> None:
    store.add_flag(COLOUR)
    store.edit_targeting(flag="colour", prerequisites=(Prerequisite("checkout", ("on",)),))
    with pytest.raises(NotPossible, match=r"flag colour in production \(as a prerequisite\)"):
        flag_edits.delete_flag(store.documents, "checkout", actor="ana")


def test_a_flag_with_an_active_release_cannot_be_deleted(store: InMemoryStore) -> None:
    store.start()
    with pytest.raises(NotPossible, match="release rel_1 in production"):
        flag_edits.delete_flag(store.documents, "checkout", actor="ana")


def test_an_unknown_flag_is_not_found(store: InMemoryStore) -> None:
    with pytest.raises(NotFound, match="no flag 'gone'"):
        flag_edits.delete_flag(store.documents, "gone", actor="ana")


def test_a_concurrent_prerequisite_prevents_a_deletion(store: InMemoryStore) -> None:
    store.add_flag(COLOUR)
    deletion = flag_edits.delete_flag(store.documents, "checkout", actor="ana", force=True)
    store.edit_targeting(flag="colour", prerequisites=(Prerequisite("checkout", ("on",)),))
    with pytest.raises(StaleRevision):
        store.commit(deletion)


def test_only_force_deletes_a_flag_that_is_not_archived(store: InMemoryStore) -> None:
    with pytest.raises(NotPossible, match="not archived"):
        flag_edits.delete_flag(store.documents, "checkout", actor="ana")
    archive(store)
    store.commit(flag_edits.delete_flag(store.documents, "checkout", actor="ana"))
    assert store.audits[-1].details["forced"] is False
    assert store.documents.flags == {}
    assert store.documents.targetings["production"] == {}


def test_force_does_not_delete_a_flag_in_use(store: InMemoryStore) -> None:
    store.start()
    with pytest.raises(NotPossible, match="release rel_1 in production"):
        flag_edits.delete_flag(store.documents, "checkout", actor="ana", force=True)


# Archiving ---------------------------------------------------------------------------


def archive(store: InMemoryStore, key: str = "checkout") -> Change:
    return store.commit(
        flag_edits.archive_flag(
            store.documents, key, actor="ana", now_ms=store.now_ms, reason="Done."
        )
    )


def unarchive(store: InMemoryStore) -> Change:
    return store.commit(flag_edits.unarchive_flag(store.documents, "checkout", actor="ana"))


def test_an_archived_flag_leaves_every_snapshot_and_comes_back_as_it_was(
    store: InMemoryStore,
) -> None:
    store.edit_targeting(default=serving("on"))
    before = store.flags["production"]["checkout"]
    archive(store)
    assert store.flags == {"production": {}, "staging": {}}
    archived = store.documents.flag("checkout").document.archived
    assert (archived.actor, archived.reason) == ("ana", "Done.")
    unarchive(store)
    after = store.flags["production"]["checkout"]
    assert after == replace(before, version=after.version)
    assert after.version > before.version
    assert [each.action for each in store.audits[-2:]] == ["flag.archive", "flag.unarchive"]


def test_nothing_happens_to_a_flag_that_is_archived_or_unarchived_already(
    store: InMemoryStore,
) -> None:
    assert unarchive(store).refreshes == ()
    archive(store)
    count = len(store.audits)
    assert archive(store).refreshes == ()
    assert len(store.audits) == count


def test_no_change_brings_an_archived_flag_back_into_a_snapshot(store: InMemoryStore) -> None:
    archive(store)
    store.edit_targeting(default=serving("on"))
    edited = replace(checkout(), name="Checkout")
    store.commit(flag_edits.edit_flag(store.documents, edited, actor="ana", now_ms=1))
    store.kill()
    store.restore()
    store.commit(project_edits.new_environment(store.documents, Environment("new"), actor="ana"))
    assert store.flags == {"production": {}, "staging": {}, "new": {}}
    unarchive(store)
    assert store.flags["new"]["checkout"].default == serving("off")
    assert store.flags["production"]["checkout"].default == serving("on")


def test_a_kill_outlasts_the_archive(store: InMemoryStore) -> None:
    store.kill()
    assert {each.environment: each.restored for each in archive(store).refreshes} == {
        "production": ("checkout",),
        "staging": (),
    }
    back = unarchive(store)
    assert {each.environment: each.killed for each in back.refreshes} == {
        "production": ("checkout",),
        "staging": (),
    }
    assert store.flags["production"]["checkout"].killed == "off"


def test_a_flag_in_use_cannot_be_archived(store: InMemoryStore) -> None:
    store.add_flag(COLOUR)
    store.edit_targeting(flag="colour", prerequisites=(Prerequisite("checkout", ("on",)),))
    with pytest.raises(NotPossible, match=r"flag colour in production \(as a prerequisite\)"):
        archive(store)
    store.edit_targeting(flag="colour", prerequisites=())
    store.start()
    with pytest.raises(NotPossible, match="release rel_1 in production"):
        archive(store)


def test_an_archived_flag_can_be_neither_required_nor_released(store: InMemoryStore) -> None:
    store.add_flag(COLOUR)
    archive(store)
    with pytest.raises(Invalid) as error:
        store.edit_targeting(flag="colour", prerequisites=(Prerequisite("checkout", ("on",)),))
    assert pointers(error.value) == ["/prerequisites/0/flag"]
    with pytest.raises(NotPossible, match="archived"):
        store.start()


def test_a_concurrent_prerequisite_prevents_an_archive(store: InMemoryStore) -> None:
    store.add_flag(COLOUR)
    change = flag_edits.archive_flag(store.documents, "checkout", actor="ana", now_ms=1)
    store.edit_targeting(flag="colour", prerequisites=(Prerequisite("checkout", ("on",)),))
    with pytest.raises(StaleRevision):
        store.commit(change)


# Targeting ---------------------------------------------------------------------------


def test_an_edit_of_a_targeting_guards_the_flag_and_everything_it_names(
    store: InMemoryStore,
) -> None:
    store.add_segment(SegmentDefinition("staff"))
    store.add_flag(COLOUR)
    prerequisites = (Prerequisite("colour", ("blue",)),)
    change = store.edit_targeting(rules=(STAFF,), prerequisites=prerequisites)
    assert guarded(change) == {
        flag_address("checkout"),
        flag_address("colour"),
        targeting_address("production", "colour"),
        segment_address("staff"),
    }
    assert store.flags["production"]["checkout"].rules == (STAFF,)
    assert store.flags["staging"]["checkout"].rules == ()
    assert store.audits[-1].details["changed"] == "rules, prerequisites"


def test_an_edit_does_not_change_the_kill_and_the_release(store: InMemoryStore) -> None:
    store.start()
    store.kill()
    store.edit_targeting(kill=None, release=None, enabled=False)
    assert store.targeting().kill is not None
    assert store.targeting().release == "rel_1"


def test_other_rules_can_change_during_a_release(store: InMemoryStore) -> None:
    store.start()
    germans = Rule("germans", Comparison("country", "equals", "DE"), serving("on"))
    change = store.edit_targeting(rules=(germans,))
    assert release_address("production", "rel_1") in guarded(change)
    assert store.flags["production"]["checkout"].release is not None


def test_the_released_rule_must_serve_the_control(store: InMemoryStore) -> None:
    store.start()
    with pytest.raises(Invalid, match="must serve 'off'") as caught:
        store.edit_targeting(default=serving("on"))
    assert pointers(caught.value) == ["/default"]


def test_a_released_rule_cannot_be_removed_or_changed(store: InMemoryStore) -> None:
    other = Rule("other", Comparison("country", "equals", "DE"), serving("off"))
    released = Rule("some", All(()), serving("off"))
    store.edit_targeting(rules=(other, released))
    store.start(rule="some")
    with pytest.raises(Invalid) as caught:
        store.edit_targeting(rules=(other,))
    assert pointers(caught.value) == ["/rules"]
    with pytest.raises(Invalid) as caught:
        store.edit_targeting(rules=(other, replace(released, serve=serving("on"))))
    assert pointers(caught.value) == ["/rules/1/serve"]
    store.edit_targeting(rules=(released, other))
    assert store.release().rule == "some"


@pytest.mark.parametrize(
    "everyone", [All(()), AnyOf((NoneOf(()), Comparison("a", "exists"))), InSegment("everyone")]
)
def test_no_rule_hides_the_rule_of_a_release(store: InMemoryStore, everyone: Condition) -> None:
    store.add_segment(SegmentDefinition("everyone", when=NoneOf((AnyOf(()),))))
    hiding = Rule("hiding", everyone, serving("off"))
    store.edit_targeting(rules=(hiding,))
    with pytest.raises(Invalid, match="Every context meets rule 'hiding'") as caught:
        store.start()
    assert pointers(caught.value) == ["/rule"]
    store.edit_targeting(rules=())
    store.start()
    with pytest.raises(Invalid, match="nobody would reach the rule") as caught:
        store.edit_targeting(rules=(STAFF_BY_NAME, hiding))
    assert pointers(caught.value) == ["/rules/1/when"]
    store.edit_targeting(rules=(STAFF_BY_NAME,))


def test_a_segment_with_excluded_keys_hides_no_rule(store: InMemoryStore) -> None:
    store.add_segment(SegmentDefinition("most", when=All(()), excluded=("ana",)))
    store.edit_targeting(rules=(Rule("most", InSegment("most"), serving("off")),))
    store.start()


def test_one_of_two_edits_that_would_form_a_cycle_is_stale(store: InMemoryStore) -> None:
    store.add_flag(COLOUR)
    documents = store.documents
    ask_colour = replace(
        documents.targeting("production", "checkout").document,
        prerequisites=(Prerequisite("colour", ("blue",)),),
    )
    late = flag_edits.edit_targeting(documents, "production", ask_colour, actor="ana", now_ms=1)
    store.edit_targeting(flag="colour", prerequisites=(Prerequisite("checkout", ("on",)),))
    with pytest.raises(StaleRevision):
        store.commit(late)


def test_a_release_that_was_not_read_makes_an_edit_stale(store: InMemoryStore) -> None:
    store.start()
    blind = replace(store.documents, releases={})
    with pytest.raises(StaleRevision, match="read it again"):
        flag_edits.edit_targeting(blind, "production", store.targeting(), actor="ana", now_ms=1)
