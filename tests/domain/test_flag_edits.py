from __future__ import annotations

from dataclasses import replace

import pytest
from tidegate.model import All, Comparison, InSegment, Prerequisite, Rule, Variant
from tidegate_server.domain import flag_edits
from tidegate_server.domain.change import Change
from tidegate_server.domain.flags import FlagDefinition, SegmentDefinition
from tidegate_server.domain.project_documents import (
    environment_address,
    flag_address,
    release_address,
    segment_address,
    targeting_address,
)
from tidegate_server.domain.release import State
from tidegate_server.errors import AlreadyExists, Invalid, NotFound, NotPossible, StaleRevision

from tests.domain.builders import (
    CHECKOUT_IN_PRODUCTION,
    OFF,
    ON,
    Shelf,
    checkout,
    guarded,
    pointers,
    problems,
    serving,
    stocked,
    written,
)

COLOUR = FlagDefinition(
    "colour", "string", (Variant("red", "#f00"), Variant("blue", "#00f")), salt=""
)
STAFF = Rule("staff", InSegment("staff"), serving("on"))


@pytest.fixture
def shelf() -> Shelf:
    return stocked()


def edit(shelf: Shelf, now_ms: int = 500, **to: object) -> Change:
    after = replace(shelf.documents.flag("checkout").document, **to)
    return shelf.commit(flag_edits.edit_flag(shelf.documents, after, actor="ana", now_ms=now_ms))


# Creating ----------------------------------------------------------------------------


def test_a_new_flag_is_on_everywhere_and_serves_off(shelf: Shelf) -> None:
    for environment in ("production", "staging"):
        flag = shelf.flags[environment]["checkout"]
        assert (flag.enabled, flag.off_variant, flag.default) == (True, "off", serving("off"))
        assert (flag.salt, flag.version) == ("checkout", 2)


def test_a_new_flag_rests_on_its_environments() -> None:
    shelf = Shelf("production", "staging")
    change = shelf.commit(flag_edits.new_flag(shelf.documents, checkout(), actor="ana"))
    assert guarded(change) == {environment_address("production"), environment_address("staging")}
    assert shelf.audits[-1].details == {"type": "boolean", "variants": "on, off"}


def test_a_flag_without_a_variant_called_off_begins_with_false_or_the_first() -> None:
    named = checkout(variants=(Variant("yes", True), Variant("no", False)))
    assert flag_edits.first_targeting(named).off_variant == "no"
    assert flag_edits.first_targeting(COLOUR).off_variant == "red"


def test_an_imported_flag_keeps_its_salt(shelf: Shelf) -> None:
    shelf.add_flag(replace(COLOUR, salt="imported"))
    assert shelf.flags["production"]["colour"].salt == "imported"


def test_a_flags_key_is_taken_once(shelf: Shelf) -> None:
    with pytest.raises(AlreadyExists):
        shelf.add_flag(checkout())


# Editing the definition --------------------------------------------------------------


def test_an_edit_reaches_every_environment(shelf: Shelf) -> None:
    change = edit(shelf, variants=(ON, OFF, Variant("maybe", True)))
    assert len(shelf.flags["production"]["checkout"].variants) == 3
    assert len(shelf.flags["staging"]["checkout"].variants) == 3
    assert shelf.flags["staging"]["checkout"].version == 3
    assert guarded(change) == {
        CHECKOUT_IN_PRODUCTION,
        targeting_address("staging", "checkout"),
    }
    assert shelf.audits[-1].details["changed"] == "variants"


def test_an_edit_that_changes_nothing_only_guards(shelf: Shelf) -> None:
    told = len(shelf.audits)
    change = edit(shelf)
    assert guarded(change) == {flag_address("checkout")}
    assert (len(change.writes), len(shelf.audits)) == (1, told)


def test_true_is_not_taken_for_one(shelf: Shelf) -> None:
    shelf.add_flag(
        FlagDefinition("limits", "object", (Variant("a", {"x": 1}), Variant("b", {})), salt="")
    )
    after = replace(
        shelf.documents.flag("limits").document,
        variants=(Variant("a", {"x": True}), Variant("b", {})),
    )
    shelf.commit(flag_edits.edit_flag(shelf.documents, after, actor="ana", now_ms=1))
    assert shelf.flags["production"]["limits"].variants[0].value == {"x": True}
    assert shelf.flags["production"]["limits"].variants[0].value["x"] is True


def test_type_and_salt_never_change(shelf: Shelf) -> None:
    after = FlagDefinition("checkout", "string", (Variant("on", "1"), Variant("off", "0")), "x")
    with pytest.raises(Invalid) as caught:
        flag_edits.edit_flag(shelf.documents, after, actor="ana", now_ms=1)
    assert pointers(caught.value) == ["/type", "/salt"]


def test_an_edit_without_a_salt_keeps_it(shelf: Shelf) -> None:
    edit(shelf, salt="", name="Checkout")
    assert shelf.flags["production"]["checkout"].salt == "checkout"


def test_a_variant_in_use_stays_and_its_users_are_named(shelf: Shelf) -> None:
    three = (ON, OFF, Variant("beta", True))
    edit(shelf, variants=three)
    shelf.retarget(kill_variant="beta", rules=(Rule("all", All(()), serving("beta")),))
    shelf.add_flag(COLOUR)
    shelf.retarget(flag="colour", prerequisites=(Prerequisite("checkout", ("beta",)),))
    with pytest.raises(Invalid) as caught:
        edit(shelf, variants=(ON, OFF))
    assert problems(caught.value) == {
        "/variants": "Variant 'beta' cannot be removed: it is used by the kill variant in "
        "production, rule all in production, the prerequisite of flag colour in production. "
        "Change that first."
    }


def test_the_variants_of_an_active_release_stay(shelf: Shelf) -> None:
    edit(shelf, variants=(ON, OFF, Variant("beta", True)))
    shelf.start(treatment="beta")
    with pytest.raises(Invalid, match="release rel_1 in production"):
        edit(shelf, variants=(ON, OFF))


def test_a_variant_that_nobody_uses_may_go(shelf: Shelf) -> None:
    edit(shelf, variants=(ON, OFF, Variant("beta", True)))
    edit(shelf, variants=(ON, OFF))
    assert shelf.flags["production"]["checkout"].variants == (ON, OFF)


def test_a_prerequisite_added_meanwhile_stops_the_removal_of_its_variant(shelf: Shelf) -> None:
    shelf.add_flag(COLOUR)
    edit(shelf, variants=(ON, OFF, Variant("beta", True)))
    after = replace(shelf.documents.flag("checkout").document, variants=(ON, OFF))
    removal = flag_edits.edit_flag(shelf.documents, after, actor="ana", now_ms=1)
    shelf.retarget(flag="colour", prerequisites=(Prerequisite("checkout", ("beta",)),))
    with pytest.raises(StaleRevision):
        shelf.commit(removal)


def test_another_value_of_a_compared_variant_restarts_the_evidence(shelf: Shelf) -> None:
    shelf.add_flag(COLOUR)
    shelf.start(flag="colour", treatment="blue")
    shelf.start("staging", flag="colour", treatment="blue", release_id="rel_2")
    after = replace(COLOUR, variants=(Variant("red", "#f00"), Variant("blue", "#00e")))
    change = shelf.commit(flag_edits.edit_flag(shelf.documents, after, actor="ana", now_ms=500))
    for environment, key in (("production", "rel_1"), ("staging", "rel_2")):
        release = shelf.release(environment, "colour")
        assert (release.id, release.step, release.attempt, release.stage) == (key, 2, 2, 1)
        assert (release.stage_entered_ms, release.state) == (500, State.RUNNING)
        assert "evidence starts again" in release.reason
        shown = shelf.flags[environment]["colour"].release
        assert shown is not None
        assert shown.step == 2
        assert release_address(environment, release) in written(change)
    assert shelf.audits[-1].details["evidence_restarted"] == "rel_1, rel_2"


def test_a_variant_that_is_not_compared_changes_nothing_for_the_release(shelf: Shelf) -> None:
    green = Variant("green", "#0f0")
    shelf.add_flag(replace(COLOUR, variants=(*COLOUR.variants, green)))
    shelf.start(flag="colour", treatment="blue")
    after = replace(COLOUR, variants=(*COLOUR.variants, Variant("green", "#0e0")))
    change = shelf.commit(flag_edits.edit_flag(shelf.documents, after, actor="ana", now_ms=500))
    assert shelf.release(flag="colour").step == 1
    assert release_address("production", "rel_1") in guarded(change)


# Deleting ----------------------------------------------------------------------------


def test_a_deleted_flag_is_gone_everywhere(shelf: Shelf) -> None:
    shelf.kill()
    change = shelf.commit(flag_edits.delete_flag(shelf.documents, "checkout", actor="ana"))
    assert shelf.flags == {"production": {}, "staging": {}}
    assert {each.environment: each.restored for each in change.refreshes} == {
        "production": ("checkout",),
        "staging": (),
    }
    shelf.add_flag(checkout())
    assert shelf.flags["production"]["checkout"].version == 2


def test_a_flag_that_another_one_asks_for_stays(shelf: Shelf) -> None:
    shelf.add_flag(COLOUR)
    shelf.retarget(flag="colour", prerequisites=(Prerequisite("checkout", ("on",)),))
    with pytest.raises(NotPossible, match=r"flag colour in production \(as a prerequisite\)"):
        flag_edits.delete_flag(shelf.documents, "checkout", actor="ana")


def test_a_flag_with_an_active_release_stays(shelf: Shelf) -> None:
    shelf.start()
    with pytest.raises(NotPossible, match="release rel_1 in production"):
        flag_edits.delete_flag(shelf.documents, "checkout", actor="ana")


def test_a_flag_that_is_not_there_is_not_found(shelf: Shelf) -> None:
    with pytest.raises(NotFound, match="no flag 'gone'"):
        flag_edits.delete_flag(shelf.documents, "gone", actor="ana")


def test_a_prerequisite_added_meanwhile_stops_a_deletion(shelf: Shelf) -> None:
    shelf.add_flag(COLOUR)
    deletion = flag_edits.delete_flag(shelf.documents, "checkout", actor="ana")
    shelf.retarget(flag="colour", prerequisites=(Prerequisite("checkout", ("on",)),))
    with pytest.raises(StaleRevision):
        shelf.commit(deletion)


# Targeting ---------------------------------------------------------------------------


def test_a_targeting_rests_on_the_flag_and_on_all_it_names(shelf: Shelf) -> None:
    shelf.add_segment(SegmentDefinition("staff"))
    shelf.add_flag(COLOUR)
    asked = (Prerequisite("colour", ("red",)),)
    change = shelf.retarget(rules=(STAFF,), prerequisites=asked)
    assert guarded(change) == {
        flag_address("checkout"),
        flag_address("colour"),
        targeting_address("production", "colour"),
        segment_address("staff"),
    }
    assert shelf.flags["production"]["checkout"].rules == (STAFF,)
    assert shelf.flags["staging"]["checkout"].rules == ()
    assert shelf.audits[-1].details["changed"] == "rules, prerequisites"


def test_an_edit_leaves_the_kill_and_the_release_alone(shelf: Shelf) -> None:
    shelf.start()
    shelf.kill()
    shelf.retarget(kill=None, release=None, enabled=False)
    assert shelf.targeting().kill is not None
    assert shelf.targeting().release == "rel_1"


def test_other_rules_may_change_under_a_release(shelf: Shelf) -> None:
    shelf.start()
    germans = Rule("germans", Comparison("country", "equals", "DE"), serving("on"))
    change = shelf.retarget(rules=(germans,))
    assert release_address("production", "rel_1") in guarded(change)
    assert shelf.flags["production"]["checkout"].release is not None


def test_the_released_rule_goes_on_serving_the_control(shelf: Shelf) -> None:
    shelf.start()
    with pytest.raises(Invalid, match="must serve 'off'") as caught:
        shelf.retarget(default=serving("on"))
    assert pointers(caught.value) == ["/default"]


def test_a_released_rule_cannot_be_removed_or_changed(shelf: Shelf) -> None:
    other = Rule("other", All(()), serving("off"))
    released = Rule("some", All(()), serving("off"))
    shelf.retarget(rules=(other, released))
    shelf.start(rule="some")
    with pytest.raises(Invalid) as caught:
        shelf.retarget(rules=(other,))
    assert pointers(caught.value) == ["/rules"]
    with pytest.raises(Invalid) as caught:
        shelf.retarget(rules=(other, replace(released, serve=serving("on"))))
    assert pointers(caught.value) == ["/rules/1/serve"]
    shelf.retarget(rules=(released, other))
    assert shelf.release().rule == "some"


def test_of_two_edits_that_would_close_a_circle_together_one_is_stale(shelf: Shelf) -> None:
    shelf.add_flag(COLOUR)
    documents = shelf.documents
    ask_colour = replace(
        documents.targeting("production", "checkout").document,
        prerequisites=(Prerequisite("colour", ("red",)),),
    )
    late = flag_edits.edit_targeting(documents, "production", ask_colour, actor="ana")
    shelf.retarget(flag="colour", prerequisites=(Prerequisite("checkout", ("on",)),))
    with pytest.raises(StaleRevision):
        shelf.commit(late)


def test_a_release_that_was_not_read_makes_an_edit_stale(shelf: Shelf) -> None:
    shelf.start()
    blind = replace(shelf.documents, releases={})
    with pytest.raises(StaleRevision, match="read it again"):
        flag_edits.edit_targeting(blind, "production", shelf.targeting(), actor="ana")
