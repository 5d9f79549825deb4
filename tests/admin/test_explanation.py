"""Releases are explained over HTTP."""

from __future__ import annotations

from dataclasses import replace

from tidegate_server.decisions.progress import initial_progress
from tidegate_server.domain.change import Address, Change, Put
from tidegate_server.domain.evidence import Trips
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.project_documents import progress_address
from tidegate_server.store import Store

from tests.admin.test_replay import write_ledger
from tests.decisions.random_releases import random_ledger
from tests.decisions.simulated_release import policy
from tests.http_calls import PRODUCTION, PROJECT, Caller


def test_a_new_release_has_an_explanation(checkout: Caller, release: str) -> None:
    response = checkout.get(f"{release}/explanation")
    explanation = response.json
    assert explanation is not None
    assert explanation["headline"].startswith(
        "checkout in production, off to on: running at stage 1"
    )
    assert "under policy careful, revision 1" in explanation["beginning"]
    assert [chapter["evaluations"] for chapter in explanation["chapters"]] == [0]
    assert explanation["cleanup"] == []
    assert response.headers["ETag"]


def test_the_explanation_has_the_actions_of_people(checkout: Caller, release: str) -> None:
    for action, reason in (("pause", "lunch"), ("resume", "back"), ("rollback", "not today")):
        assert checkout.post(f"{release}/{action}", {"reason": reason}).status_code == 200
    explanation = checkout.get(f"{release}/explanation").json
    assert explanation is not None
    [chapter] = explanation["chapters"]
    acts = [(each["action"], each["text"].rpartition(": ")[2]) for each in chapter["happenings"]]
    assert acts == [("pause", "lunch"), ("resume", "back"), ("rollback", "not today")]
    assert all(each["decision"] is None for each in chapter["happenings"])
    assert "rolled back after" in explanation["headline"]
    assert explanation["ending"].startswith("Rolled back ")
    assert "development can serve" not in str(explanation["cleanup"])


def test_the_explanation_has_the_kill_of_a_tag_of_its_flag(checkout: Caller, release: str) -> None:
    definition = checkout.get(f"{PROJECT}/flags/checkout")
    assert definition.json is not None
    fields = ("key", "type", "variants")
    body = {name: definition.json[name] for name in fields} | {"tags": ["payments"]}
    changed = checkout.put(f"{PROJECT}/flags/checkout", body, match=definition.headers["ETag"])
    assert changed.status_code == 200, changed.text
    for key, tag in (("other", "checkout"), ("third", "mails")):
        checkout.post_ok(f"{PROJECT}/flags", {"key": key, "type": "boolean", "tags": [tag]})
    for tag in ("payments", "checkout", "mails"):
        checkout.post_ok(f"{PRODUCTION}/kill", {"tag": tag, "reason": f"of {tag}"})
    checkout.post_ok(f"{PRODUCTION}/restore", {"tag": "payments", "reason": "mended"})
    explanation = checkout.get(f"{release}/explanation").json
    assert explanation is not None
    [chapter] = explanation["chapters"]
    found = [(each["action"], each["text"].partition(" (")[2]) for each in chapter["happenings"]]
    assert [action for action, _ in found] == ["kill", "restore"]
    assert "killed every flag with the tag payments" in found[0][1]
    assert "restored the flag" in found[1][1]


def test_the_cleanup_names_environments_that_can_serve_the_other_variant(
    checkout: Caller, release: str
) -> None:
    path = f"{PROJECT}/environments/development/flags/checkout"
    targeting = checkout.get(path)
    assert targeting.json is not None
    body = {
        name: value
        for name, value in targeting.json.items()
        if name in ("enabled", "default", "off_variant", "rules", "prerequisites", "kill_variant")
    }
    changed = {**body, "enabled": True, "default": {"variant": "on"}}
    assert checkout.put(path, changed, match=targeting.headers["ETag"]).status_code == 200
    assert checkout.post(f"{release}/rollback").status_code == 200
    explanation = checkout.get(f"{release}/explanation").json
    assert explanation is not None
    done, still = explanation["cleanup"][:2]
    assert done == {"text": "In production checkout serves off now.", "done": True}
    assert "development can serve on" in still["text"]
    assert not still["done"]


def test_the_explanation_has_decisions_with_their_evidence(
    checkout: Caller, release: str, store: Store
) -> None:
    write_ledger(
        store, release, random_ledger(0, by=policy(5, 100, bake_ms=10**8, min_samples=300))
    )
    explanation = checkout.get(f"{release}/explanation").json
    assert explanation is not None
    decisions = [
        each["decision"]
        for chapter in explanation["chapters"]
        for each in chapter["happenings"]
        if each["actor"] == "policy" and each["decision"] is not None
    ]
    assert len(decisions) > 2
    assert {"evidence", "rollback_at", "advance", "advance_at"} <= set(decisions[0])


def test_the_explanation_of_an_unknown_release_is_not_found(checkout: Caller) -> None:
    path = f"{PROJECT}/environments/production/releases/rel_none/explanation"
    assert checkout.get(path).status_code == 404


def test_trips_are_explained_also_when_the_release_has_ended(
    checkout: Caller, release: str, store: Store
) -> None:
    id = release.rpartition("/")[2]
    stored = store.get("default", Address(Kind.RELEASE, id, "production"))
    assert stored is not None
    progress = replace(initial_progress(stored.document), trips=Trips(2, 90_000))
    put = Put(progress_address("production", id), progress, 0)
    store.commit(Change("default", (put,)))
    assert checkout.post(f"{release}/rollback").status_code == 200
    explanation = checkout.get(f"{release}/explanation").json
    assert "2 times" in str(explanation)
