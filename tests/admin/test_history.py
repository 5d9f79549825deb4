"""The versions of documents: read, compared and restored, within what a token may do."""

from __future__ import annotations

from typing import Any

import pytest
from tidegate_server.domain.kinds import Kind
from tidegate_server.store import Store

from tests.http_calls import (
    POLICY,
    PRODUCTION,
    PROJECT,
    Caller,
    slug,
    stored_documents,
)

FLAG = f"{PROJECT}/flags/checkout"
TARGETING = f"{PRODUCTION}/flags/checkout"
SEGMENT = f"{PROJECT}/segments/staff"
READ_ONLY = (
    *("ladder", "receipt", "killed", "release", "after_last_advance", "old_secret_until"),
    "path",
)
"""Fields that only the server sets."""

WHY = {"Tidegate-Reason": "because"}


def body(caller: Caller, path: str) -> Any:
    answer = caller.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json


def edit(caller: Caller, path: str, **fields: Any) -> None:
    """Change fields of a document."""
    document = body(caller, path)
    for name in ("revision", "updated_at", "warnings", *READ_ONLY):
        document.pop(name, None)
    answer = caller.put(path, {**document, **fields}, match="*", headers=WHY)
    assert answer.status_code == 200, answer.text


def restore(caller: Caller, path: str, revision: int, match: str | None = "*") -> Any:
    return caller.post(f"{path}/history/{revision}/restore", match=match, headers=WHY)


@pytest.fixture
def named(checkout: Caller) -> Caller:
    """A server whose flag had three names."""
    edit(checkout, FLAG, name="second")
    edit(checkout, FLAG, name="third", tags=["new"])
    return checkout


def test_the_history_says_who_made_each_version_when_and_why(named: Caller) -> None:
    items = body(named, f"{FLAG}/history")["items"]
    assert [(each["revision"], each["action"], each["reason"]) for each in items] == [
        (3, "flag.edit", "because"),
        (2, "flag.edit", "because"),
        (1, "flag.create", ""),
    ]
    assert {each["actor"] for each in items} == {"first admin (bootstrap)"}
    assert items[0]["at"] == body(named, FLAG)["updated_at"]


def test_the_history_has_pages(named: Caller) -> None:
    found, cursor = [], ""
    while cursor is not None:
        page = body(named, f"{FLAG}/history?limit=1&cursor={cursor}")
        found += [each["revision"] for each in page["items"]]
        cursor = page["next_cursor"]
    assert found == [3, 2, 1]


def test_a_version_is_as_the_document_was(named: Caller) -> None:
    present = body(named, FLAG)
    version = body(named, f"{FLAG}/history/3")
    assert version["document"] == {
        name: value for name, value in present.items() if name not in ("revision", "updated_at")
    }
    assert body(named, f"{FLAG}/history/1")["document"]["name"] == ""


def test_versions_are_compared_with_the_present_one_or_another(named: Caller) -> None:
    diff = body(named, f"{FLAG}/history/1/diff")
    assert (diff["from"]["revision"], diff["to"]["revision"]) == (1, 3)
    assert [each["text"] for each in diff["changes"]] == [
        'name: "" → "third"',
        'tags: [] → ["new"]',
    ]
    assert diff["changes"][0]["pointer"] == "/name"
    assert [each["text"] for each in body(named, f"{FLAG}/history/1/diff?to=2")["changes"]] == [
        'name: "" → "second"'
    ]
    assert body(named, f"{FLAG}/history/2/diff?to=2")["changes"] == []


def test_a_version_is_restored_by_an_ordinary_change(named: Caller) -> None:
    answer = restore(named, FLAG, 2, match="3")
    assert answer.status_code == 200, answer.text
    assert (answer.json["revision"], answer.json["name"], answer.json["tags"]) == (4, "second", [])
    entry = body(named, f"{PROJECT}/audit")["items"][0]
    assert (entry["action"], entry["reason"]) == ("flag.edit", "because")
    assert entry["details"]["restored_revision"] == 2
    assert entry["documents"][0]["changes"][0]["before"] == "third"


def test_a_restore_needs_the_present_revision(named: Caller) -> None:
    assert slug(restore(named, FLAG, 1, match=None)) == "revision-required"
    assert slug(restore(named, FLAG, 1, match="2")) == "stale-revision"


def test_what_is_not_kept_is_said_so(named: Caller) -> None:
    for path in ("history/7", "history/7/diff", "history/1/diff?to=9"):
        assert slug(named.get(f"{FLAG}/{path}")) == "not-kept"
    assert slug(restore(named, FLAG, 7)) == "not-kept"
    assert slug(named.get(f"{PROJECT}/flags/chekout/history")) == "not-found"


def test_targeting_has_a_history_of_its_own(checkout: Caller) -> None:
    edit(checkout, TARGETING, default={"variant": "on"})
    checkout.post_ok(f"{TARGETING}/kill", {"reason": "broken"})
    items = body(checkout, f"{TARGETING}/history")["items"]
    assert [each["action"] for each in items] == ["flag.kill", "targeting.edit", "flag.create"]
    (killed,) = body(checkout, f"{TARGETING}/history/2/diff")["changes"]
    assert killed["pointer"] == "/killed"
    elsewhere = f"{PROJECT}/environments/development/flags/checkout/history"
    assert len(body(checkout, elsewhere)["items"]) == 1


def test_a_restore_brings_back_neither_a_kill_nor_a_release(checkout: Caller, release: str) -> None:
    checkout.post_ok(f"{release}/rollback", {})
    checkout.post_ok(f"{TARGETING}/kill", {})
    checkout.post_ok(f"{TARGETING}/restore", {})
    edit(checkout, TARGETING, enabled=False)
    versions = body(checkout, f"{TARGETING}/history")["items"]
    started = next(each for each in versions if each["action"] == "release.start")
    killed = next(each for each in versions if each["action"] == "flag.kill")
    for version in (started, killed):
        assert restore(checkout, TARGETING, version["revision"]).status_code == 200
        now = body(checkout, TARGETING)
        assert (now["killed"], now["release"], now["enabled"]) == (None, None, True)
        edit(checkout, TARGETING, enabled=False)


def test_a_restore_does_not_end_a_kill_or_a_release(checkout: Caller, release: str) -> None:
    checkout.post_ok(f"{TARGETING}/kill", {})
    edit(checkout, TARGETING, kill_variant="off")
    assert restore(checkout, TARGETING, 1).status_code == 200
    now = body(checkout, TARGETING)
    assert now["killed"] is not None
    assert now["release"] == release.rpartition("/")[2]
    assert now["kill_variant"] is None


def test_a_restore_is_checked_as_any_change(named: Caller) -> None:
    edit(
        named,
        TARGETING,
        rules=[{"id": "a", "when": {"segment": "staff"}, "serve": {"variant": "on"}}],
    )
    edit(named, TARGETING, rules=[])
    assert named.delete(SEGMENT, match="*").status_code == 204
    answer = restore(named, TARGETING, 2)
    assert slug(answer) == "invalid"
    assert "staff" in answer.text


def test_a_deleted_flag_comes_back_without_what_it_served(named: Caller) -> None:
    edit(named, TARGETING, default={"variant": "on"})
    assert named.delete(f"{FLAG}?force=true", match="*").status_code == 204
    items = body(named, f"{FLAG}/history")["items"]
    assert (items[0]["deleted"], items[0]["action"]) == (True, "flag.delete")
    assert slug(named.get(f"{FLAG}/history/1/diff")) == "not-found"
    answer = restore(named, FLAG, 2, match=None)
    assert answer.status_code == 200, answer.text
    assert answer.json["name"] == "second"
    assert body(named, TARGETING)["default"] == {"variant": "off"}
    assert restore(named, TARGETING, 2).status_code == 200
    assert body(named, TARGETING)["default"] == {"variant": "on"}


def test_segments_and_policies_are_restored_too(checkout: Caller) -> None:
    edit(checkout, SEGMENT, included=["bob"])
    assert restore(checkout, SEGMENT, 1).json["included"] == ["ann"]
    checkout.delete(SEGMENT, match="*")
    assert restore(checkout, SEGMENT, 2, match=None).json["included"] == ["bob"]
    policy = f"{PROJECT}/policies/careful"
    edit(checkout, policy, bake="20s")
    assert body(checkout, f"{policy}/history/1/diff")["changes"][0]["text"] == (
        'bake: "10s" → "20s"'
    )
    assert restore(checkout, policy, 1).json["bake"] == POLICY["bake"]


URL = "https://hooks.example.com/services/secret-path"


def test_a_webhook_keeps_its_secret_and_readers_see_no_path(admin: Caller, store: Store) -> None:
    webhook = f"{PROJECT}/webhooks/chat"
    admin.post_ok(f"{PROJECT}/webhooks", {"key": "chat", "url": URL})
    edit(admin, webhook, url=URL.replace("secret", "other"))
    rotated = admin.post_ok(f"{webhook}/rotate", None)
    assert rotated["secret"]
    before = store.all("default", Kind.WEBHOOK)["chat"].document
    assert restore(admin, webhook, 1).json["url"] == URL
    after = store.all("default", Kind.WEBHOOK)["chat"].document
    assert (after.secret_id, after.retiring_id) == (before.secret_id, before.retiring_id)
    reader = admin.token_for("reader", "default", None)
    for path in ("history", "history/1", "history/2", "history/1/diff?to=2"):
        text = reader.get(f"{webhook}/{path}").text
        assert "path" not in text.replace("another path", "")
        assert "secret" not in text
    assert body(admin, f"{webhook}/history/1")["document"]["url"] == URL
    admin.delete(webhook, match="*")
    assert slug(restore(admin, webhook, 1, match=None)) == "not-possible"


def test_a_hook_and_an_environment_have_a_history(checkout: Caller) -> None:
    hook = {"name": "a", "kind": "generic", "action": "kill", "flags": ["checkout"]}
    created = checkout.post_ok(f"{PROJECT}/hooks", {**hook, "environment": "production"})
    path = f"{PROJECT}/hooks/{created['id']}"
    changed = {**hook, "environment": "production", "action": "hold"}
    assert checkout.put(path, changed, match="*").status_code == 200
    assert restore(checkout, path, 1).json["action"] == "kill"
    assert "digest" not in checkout.get(f"{path}/history/1").text
    edit(checkout, PRODUCTION, allowed_origins=["https://shop.example"])
    checkout.post_ok(f"{PRODUCTION}/rotate-key", None)
    assert restore(checkout, PRODUCTION, 1).json["allowed_origins"] == []
    assert "key_id" not in checkout.get(f"{PRODUCTION}/history/2").text


HISTORIES = (
    FLAG,
    TARGETING,
    SEGMENT,
    f"{PROJECT}/policies/careful",
    PRODUCTION,
)


@pytest.mark.parametrize("path", HISTORIES)
def test_a_token_that_may_not_write_restores_nothing(
    checkout: Caller, store: Store, path: str
) -> None:
    reader = checkout.token_for("reader", "default", None)
    sdk = checkout.token_for("sdk", "default", "production")
    checkout.post_ok("/api/v1/projects", {"key": "other"})
    others = [
        checkout.token_for("reader", "other", None),
        checkout.token_for("writer", "other", None),
        checkout.token_for("writer", "default", "development"),
    ]
    before = stored_documents(store)
    for caller in (reader, sdk, *others):
        assert slug(restore(caller, path, 1)) == "forbidden"
    assert stored_documents(store) == before
    for caller in (sdk, *others[:2]):
        for read in ("history", "history/1", "history/1/diff"):
            assert slug(caller.get(f"{path}/{read}")) == "forbidden"
    assert reader.get(f"{path}/history/1").status_code == 200


def test_a_token_of_an_environment_sees_no_other_environment(checkout: Caller) -> None:
    elsewhere = checkout.token_for("reader", "default", "development")
    assert slug(elsewhere.get(f"{TARGETING}/history")) == "forbidden"
    assert elsewhere.get(f"{FLAG}/history").status_code == 200
    writer = checkout.token_for("writer", "default", "production")
    assert slug(restore(writer, FLAG, 1)) == "forbidden"


def test_a_writer_does_not_restore_an_environment(checkout: Caller) -> None:
    writer = checkout.token_for("writer", "default", None)
    assert slug(restore(writer, PRODUCTION, 1)) == "forbidden"
