"""The audit log says who did what; it has pages and contains no secrets."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from tidegate_server.domain.audit_chain import START, ChainedEntry, Link, verify
from tidegate_server.domain.change import Audit, Change, ChangedDocument
from tidegate_server.domain.kinds import Kind
from tidegate_server.store import Store, logs

from tests.http_calls import CHECKOUT, PRODUCTION, PROJECT, Caller, slug


def test_the_audit_log_has_every_change_the_latest_first(checkout: Caller) -> None:
    checkout.post_ok(f"{PRODUCTION}/flags/checkout/kill", {"reason": "smoke"})
    entries = checkout.get(f"{PROJECT}/audit").json
    assert entries is not None
    latest = entries["items"][0]
    assert latest["action"] == "flag.kill"
    assert (latest["target"], latest["environment"]) == ("checkout", "production")
    assert latest["actor"] == "first admin (bootstrap)"
    assert latest["reason"] == "smoke"
    assert latest["at"].endswith("Z")
    assert [entry["action"] for entry in entries["items"]][1:4] == [
        "policy.create",
        "segment.create",
        "flag.create",
    ]


def test_the_audit_log_has_pages(checkout: Caller) -> None:
    whole = checkout.get(f"{PROJECT}/audit").json
    assert whole is not None
    items = []
    cursor = ""
    while cursor is not None:
        page = checkout.get(f"{PROJECT}/audit?limit=2&cursor={cursor}").json
        assert page is not None
        items += page["items"]
        cursor = page["next_cursor"]
    assert items == whole["items"]


def test_the_server_has_its_own_audit_log(admin: Caller) -> None:
    created = admin.post_ok(
        "/api/v1/tokens", {"name": "ci", "role": "viewer", "whole_server": True}
    )
    answer = admin.get("/api/v1/audit")
    assert answer.json is not None
    assert answer.json["items"][0]["action"] == "token.create"
    assert answer.json["items"][0]["target"] == created["id"]
    assert created["secret"].rpartition("_")[2] not in answer.text


def test_a_project_token_cannot_read_the_server_log(admin: Caller) -> None:
    reader = admin.token_for("reader", "default", None)
    assert reader.get(f"{PROJECT}/audit").status_code == 200
    assert slug(reader.get("/api/v1/audit")) == "forbidden"


def test_an_environment_token_cannot_read_the_project_log(admin: Caller) -> None:
    reader = admin.token_for("reader", "default", "production")
    assert slug(reader.get(f"{PROJECT}/audit")) == "forbidden"


# What changed


def latest(caller: Caller, path: str = f"{PROJECT}/audit") -> Any:
    entries = caller.get(path).json
    assert entries is not None
    return entries["items"][0]


def changes(entry: Any) -> dict[str, tuple[Any, Any]]:
    """Return the values before and after by document and pointer."""
    return {
        f"{each['kind']}{change['pointer']}": (change.get("before"), change.get("after"))
        for each in entry["documents"]
        for change in each["changes"]
    }


TARGETING = {
    "enabled": True,
    "off_variant": "off",
    "default": {"variant": "on"},
    "rules": [{"id": "staff", "when": {"segment": "staff"}, "serve": {"variant": "on"}}],
}


def test_an_edit_keeps_what_was_before_and_after(checkout: Caller) -> None:
    path = f"{PRODUCTION}/flags/checkout"
    assert checkout.put(path, TARGETING, match="*").status_code == 200
    entry = latest(checkout)
    assert changes(entry) == {
        "targeting/default/variant": ("off", "on"),
        "targeting/rules/0": (None, TARGETING["rules"][0]),  # type: ignore[index]
    }
    assert entry["documents"][0]["revision_before"] == 1
    assert entry["documents"][0]["changes"][0]["field"] == "default variant"


def test_a_kill_and_a_restore_say_what_they_change(checkout: Caller) -> None:
    checkout.post_ok(f"{PRODUCTION}/flags/checkout/kill", {"reason": "smoke"})
    before, after = changes(latest(checkout))["targeting/killed"]
    assert (before, after["reason"]) == (None, "smoke")
    checkout.post_ok(f"{PRODUCTION}/flags/checkout/restore", {})
    before, after = changes(latest(checkout))["targeting/killed"]
    assert (before["reason"], after) == ("smoke", None)


def test_a_release_says_what_its_flag_serves_afterwards(checkout: Caller, release: str) -> None:
    assert changes(latest(checkout))["targeting/release"][0] is None
    checkout.post_ok(f"{release}/complete", {})
    assert changes(latest(checkout))["targeting/default/variant"] == ("off", "on")
    assert latest(checkout)["details"]["serves"] == "on"


def test_durations_are_as_in_the_api(checkout: Caller) -> None:
    policy = checkout.get(f"{PROJECT}/policies/careful").json
    assert policy is not None
    body = {
        name: value
        for name, value in policy.items()
        if name not in ("revision", "updated_at", "warnings", "after_last_advance")
    }
    body["bake"] = "20s"
    assert checkout.put(f"{PROJECT}/policies/careful", body, match="*").status_code == 200
    assert changes(latest(checkout)) == {"policy/bake": ("10s", "20s")}


def test_a_deleted_flag_is_kept_with_its_targeting(checkout: Caller) -> None:
    checkout.delete(f"{PROJECT}/flags/checkout?force=true", match="1")
    kinds = [(each["kind"], each["environment"]) for each in latest(checkout)["documents"]]
    assert kinds == [("flag", ""), ("targeting", "development"), ("targeting", "production")]
    assert changes(latest(checkout))["flag/type"] == ("boolean", None)


def test_no_secret_is_in_the_log(admin: Caller) -> None:
    admin.post_ok(f"{PROJECT}/flags", CHECKOUT)
    url = "https://hooks.example.com/services/T00/secret-path"
    hidden = [
        admin.post_ok(f"{PROJECT}/webhooks", {"key": "chat", "url": url})["secret"],
        admin.token_for("viewer", None, None).token,
        admin.post_ok(f"{PRODUCTION}/rotate-key", None)["secret"],
        "secret-path",
        "other-path",
    ]
    hook = {"name": "a", "kind": "generic", "action": "kill", "flags": ["checkout"]}
    hidden.append(
        admin.post_ok(f"{PROJECT}/hooks", {**hook, "environment": "production"})["secret"]
    )
    new = {"url": url.replace("secret", "other")}
    assert admin.put(f"{PROJECT}/webhooks/chat", new, match="*").status_code == 200
    before, after = changes(latest(admin))["webhook/url"]
    assert (before, after) == (
        "https://hooks.example.com/…",
        "https://hooks.example.com/… (another path)",
    )
    admin.delete(f"{PROJECT}/webhooks/chat", match="*")
    for path in (f"{PROJECT}/audit/export", "/api/v1/audit/export"):
        text = admin.get(path).text
        assert not [each for each in hidden if each in text]


def test_a_large_segment_leaves_a_small_entry(checkout: Caller) -> None:
    keys = [f"user-{number}" for number in range(5_000)]
    path = f"{PROJECT}/segments/staff"
    assert checkout.put(path, {"included": keys}, match="*").status_code == 200
    assert checkout.put(path, {"included": [*keys[1:], "new"]}, match="*").status_code == 200
    assert changes(latest(checkout)) == {
        "segment/included/4999": (None, "new"),
        "segment/included/0": ("user-0", None),
    }
    assert checkout.put(path, {"included": []}, match="*").status_code == 200
    (document,) = latest(checkout)["documents"]
    assert (len(document["changes"]), document["changes_left_out"]) == (100, 4_900)


# Filters


@pytest.fixture
def busy(checkout: Caller) -> Caller:
    """A project in which several tokens changed several things."""
    token = {"name": "ann", "role": "writer", "project": "default"}
    ann = Caller(checkout.client, checkout.post_ok("/api/v1/tokens", token)["secret"])
    ann.post_ok(f"{PRODUCTION}/flags/checkout/kill", {})
    ann.post_ok(f"{PRODUCTION}/flags/checkout/restore", {})
    ann.put(f"{PROJECT}/segments/staff", {"included": ["bob"]}, match="*")
    development = f"{PROJECT}/environments/development/flags/checkout"
    checkout.put(development, {**TARGETING, "rules": []}, match="*")
    body = {"flag": "checkout", "treatment": "on", "policy": "careful"}
    checkout.post_ok(f"{PRODUCTION}/releases", body)
    return checkout


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("object=segment", ["segment.edit", "segment.create"]),
        ("object=policy", ["policy.create"]),
        (
            "key=checkout",
            ["release.start", "targeting.edit", "flag.restore", "flag.kill", "flag.create"],
        ),
        ("actor=ann", ["segment.edit", "flag.restore", "flag.kill"]),
        ("actor=an", []),
        ("action=flag.kill", ["flag.kill"]),
        ("environment=development&action=targeting.edit", ["targeting.edit"]),
        ("actor=ann&object=flag", ["flag.restore", "flag.kill"]),
        ("to=2001-01-01", []),
        ("from=2001-01-01T00:00:00Z&object=policy", ["policy.create"]),
        ("from=2999-01-01", []),
    ],
)
def test_filters_leave_only_what_matches(busy: Caller, query: str, expected: list[str]) -> None:
    page = busy.get(f"{PROJECT}/audit?{query}").json
    assert page is not None
    assert [each["action"] for each in page["items"]] == expected
    lines = busy.get(f"{PROJECT}/audit/export?{query}").text.splitlines()
    assert [json.loads(line)["action"] for line in lines] == expected[::-1]


def test_an_actor_is_found_by_the_id_of_the_token(busy: Caller) -> None:
    everything = busy.get(f"{PROJECT}/audit?actor=ann").json
    assert everything is not None
    id = everything["items"][0]["actor"].rpartition("(")[2].rstrip(")")
    assert busy.get(f"{PROJECT}/audit?actor={id}").json == everything


def test_a_period_ends_before_its_end(busy: Caller) -> None:
    kill = latest(busy, f"{PROJECT}/audit?action=flag.kill")
    assert latest(busy, f"{PROJECT}/audit?action=flag.kill&from={kill['at']}") == kill
    page = busy.get(f"{PROJECT}/audit?action=flag.kill&to={kill['at']}").json
    assert page is not None
    assert page["items"] == []


@pytest.mark.parametrize("query", ["key=checkout", "text=checkout"])
@pytest.mark.parametrize("limit", [1, 2])
def test_filtered_pages_have_every_entry_once(
    busy: Caller, query: str, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "MAX_SCANNED", 2)
    found, cursor = [], ""
    while cursor is not None:
        path = f"{PROJECT}/audit?{query}&limit={limit}&cursor={cursor}"
        page = busy.get(path).json
        assert page is not None
        assert len(page["items"]) <= limit
        found += [each["action"] for each in page["items"]]
        cursor = page["next_cursor"]
    assert found == ["release.start", "targeting.edit", "flag.restore", "flag.kill", "flag.create"]


@pytest.mark.parametrize("query", ["from=yesterday", "from=2026-05-02&to=2026-05-01", "who=ann"])
def test_a_bad_filter_is_refused(admin: Caller, query: str) -> None:
    for path in ("audit", "audit/export"):
        assert slug(admin.get(f"{PROJECT}/{path}?{query}")) == "invalid"


def test_a_kind_and_a_key_are_those_of_one_object(busy: Caller, store: Store) -> None:
    both = (
        ChangedDocument(Kind.FLAG, "both", "", 1, ()),
        ChangedDocument(Kind.SEGMENT, "other", "", 1, ()),
    )
    entry = Audit("ann", "configuration.apply", "default", documents=both)
    store.commit(Change("default", (), audit=entry))
    for query, expected in (
        ("object=flag&key=both", 1),
        ("object=segment&key=other", 1),
        ("object=configuration&key=default", 1),
        ("object=segment&key=both", 0),
        ("object=flag&key=other", 0),
    ):
        page = busy.get(f"{PROJECT}/audit?{query}").json
        assert page is not None
        assert len(page["items"]) == expected, query


# The export and the hash chain


def exported(caller: Caller, path: str) -> list[ChainedEntry]:
    """Return the entries of an export as the documentation says to read them."""
    entries = []
    for line in caller.get(f"{path}/export").text.splitlines():
        entry = json.loads(line)
        at_ms = round(datetime.fromisoformat(entry.pop("at")).timestamp() * 1000)
        number, hash = entry.pop("number"), entry.pop("hash")
        entries.append(ChainedEntry(entry.pop("id"), at_ms, entry, Link(number, hash)))
    return entries


@pytest.mark.parametrize("path", [f"{PROJECT}/audit", "/api/v1/audit"])
def test_an_export_can_be_verified_with_the_chain(busy: Caller, path: str) -> None:
    chain = busy.get(f"{path}/chain").json
    assert chain is not None
    result = verify(exported(busy, path), Link(**chain["head"]), Link(**chain["anchor"]))
    assert result.broken is None
    assert result.chained > 2
    assert chain["anchor"] == {"number": START.number, "hash": START.hash}


@pytest.mark.parametrize("path", ["audit", "audit/export", "audit/chain"])
def test_the_log_needs_a_token_for_all_that_it_covers(admin: Caller, path: str) -> None:
    project = admin.token_for("reader", "default", None)
    assert project.get(f"{PROJECT}/{path}").status_code == 200
    assert slug(project.get(f"/api/v1/{path}")) == "forbidden"
    environment = admin.token_for("reader", "default", "production")
    assert slug(environment.get(f"{PROJECT}/{path}")) == "forbidden"
    admin.post_ok("/api/v1/projects", {"key": "other"})
    other = admin.token_for("reader", "other", None)
    assert slug(other.get(f"{PROJECT}/{path}")) == "forbidden"
    sdk = admin.token_for("sdk", "default", "production")
    assert slug(sdk.get(f"{PROJECT}/{path}")) == "forbidden"
    assert slug(Caller(admin.client, None).get(f"{PROJECT}/{path}")) == "unauthenticated"


def test_an_entry_is_read_by_its_id(checkout: Caller) -> None:
    listed = checkout.get(f"{PROJECT}/audit").json
    assert listed is not None
    for entry in listed["items"]:
        assert checkout.get(f"{PROJECT}/audit/{entry['id']}").json == entry
    assert slug(checkout.get(f"{PROJECT}/audit/1-0")) == "not-found"
    assert slug(checkout.get(f"{PROJECT}/audit/nothing")) == "not-found"


@pytest.mark.parametrize("path", [PROJECT, "/api/v1"])
def test_the_server_verifies_its_log(checkout: Caller, path: str) -> None:
    found = checkout.get(f"{path}/audit/verification").json
    assert found is not None
    assert (found["broken"], found["problem"], found["chained"] > 0) == (None, "", True)
    latest = f"{found['latest']['number']}:{found['latest']['hash']}"
    assert checkout.get(f"{path}/audit/verification?known={latest}").json == found
    made_anew = checkout.get(f"{path}/audit/verification?known={found['chained']}:{'0' * 64}").json
    assert made_anew is not None
    assert "made anew" in made_anew["problem"]
    assert checkout.get(f"{path}/audit/verification?known=7").status_code == 422


def test_entries_are_found_by_words(checkout: Caller) -> None:
    checkout.post_ok(f"{PRODUCTION}/flags/checkout/kill", {"reason": "Customers are charged twice"})
    for text in ("CHARGED", "first%20admin", "flag.kill"):
        found = checkout.get(f"{PROJECT}/audit?text={text}&action=flag.kill").json
        assert found is not None
        assert [each["target"] for each in found["items"]] == ["checkout"]
    assert checkout.get(f"{PROJECT}/audit?text=nothing").json["items"] == []  # type: ignore[index]
