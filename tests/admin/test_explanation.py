"""Stories of releases over HTTP."""

from __future__ import annotations

from tidegate_server.store import Store

from tests.admin.test_replay import write
from tests.decisions.ramp import policy
from tests.decisions.random_releases import a_life
from tests.http_calls import PROJECT, Caller


def test_a_release_that_has_just_started_has_a_story(checkout: Caller, release: str) -> None:
    response = checkout.get(f"{release}/explanation")
    story = response.json
    assert story is not None
    assert story["headline"].startswith("checkout in production, off to on: running at stage 1")
    assert "under policy careful, revision 1" in story["beginning"]
    assert [chapter["evaluations"] for chapter in story["chapters"]] == [0]
    assert story["cleanup"] == []
    assert response.headers["ETag"]


def test_people_s_acts_are_in_it(checkout: Caller, release: str) -> None:
    for action, reason in (("pause", "lunch"), ("resume", "back"), ("rollback", "not today")):
        assert checkout.post(f"{release}/{action}", {"reason": reason}).status_code == 200
    story = checkout.get(f"{release}/explanation").json
    assert story is not None
    [chapter] = story["chapters"]
    acts = [(each["action"], each["text"].rpartition(": ")[2]) for each in chapter["happenings"]]
    assert acts == [("pause", "lunch"), ("resume", "back"), ("rollback", "not today")]
    assert all(each["decision"] is None for each in chapter["happenings"])
    assert "rolled back after" in story["headline"]
    assert story["ending"].startswith("Rolled back ")
    assert "development can serve" not in str(story["cleanup"])


def test_other_variants_that_are_served_elsewhere_keep_the_code_needed(
    checkout: Caller, release: str
) -> None:
    place = f"{PROJECT}/environments/development/flags/checkout"
    found = checkout.get(place)
    assert found.json is not None
    body = {
        name: value
        for name, value in found.json.items()
        if name in ("enabled", "default", "off_variant", "rules", "prerequisites", "kill_variant")
    }
    changed = {**body, "enabled": True, "default": {"variant": "on"}}
    assert checkout.put(place, changed, match=found.headers["ETag"]).status_code == 200
    assert checkout.post(f"{release}/rollback").status_code == 200
    story = checkout.get(f"{release}/explanation").json
    assert story is not None
    assert "development can serve on" in story["cleanup"][1]


def test_the_policy_s_decisions_are_in_it_with_their_numbers(
    checkout: Caller, release: str, store: Store
) -> None:
    write(store, release, a_life(0, by=policy(5, 100, bake_ms=10**8, min_samples=300)))
    story = checkout.get(f"{release}/explanation").json
    assert story is not None
    decisions = [
        each["decision"]
        for chapter in story["chapters"]
        for each in chapter["happenings"]
        if each["actor"] == "policy" and each["decision"] is not None
    ]
    assert len(decisions) > 2
    assert {"evidence", "rollback_at", "advance", "advance_at"} <= set(decisions[0])


def test_there_is_no_story_of_a_release_that_is_not_there(checkout: Caller) -> None:
    place = f"{PROJECT}/environments/production/releases/rel_none/explanation"
    assert checkout.get(place).status_code == 404
