"""Keys are uploaded to a segment as a stream: all of them take effect, or none."""

from __future__ import annotations

import gzip
import json
from hashlib import sha256
from typing import Any, cast

import pytest
import redis
from tidegate_server.domain import flags
from tidegate_server.domain.calendar import instant_text
from tidegate_server.store import Store
from werkzeug.test import TestResponse

from tests.http_calls import PRODUCTION, PROJECT, Caller, pointers, raw_contents, slug

STAFF = f"{PROJECT}/segments/staff"
KEYS = f"{STAFF}/keys"


@pytest.fixture
def staff(checkout: Caller) -> Caller:
    """Return the admin of a server with the segment ``staff``, which lists nobody."""
    assert checkout.put(STAFF, {"included": []}, match="*").status_code == 200
    return checkout


def send(
    caller: Caller,
    text: str | bytes,
    mode: str = "replace",
    *,
    kind: str = "text/plain",
    headers: dict[str, str] | None = None,
    **query: str,
) -> TestResponse:
    return caller.call(
        "POST",
        KEYS,
        query_string={"mode": mode, **query},
        data=text,
        content_type=kind,
        headers=headers,
    )


def sent(caller: Caller, text: str | bytes, mode: str = "replace", **options: Any) -> Any:
    answer = send(caller, text, mode, **options)
    assert answer.status_code == 200, answer.text
    return answer.json


def held(caller: Caller, *keys: str, list: str = "included") -> dict[str, bool]:
    answer = caller.post_ok(f"{KEYS}/lookup", {"keys": [*keys]})
    return {item["key"]: item[list] for item in answer["items"]}


def hashes(caller: Caller, list: str = "included") -> tuple[dict[str, Any], set[str]]:
    """Return what a download begins with, and the hashes that follow."""
    answer = caller.get(KEYS, query_string={"list": list})
    assert answer.status_code == 200, answer.text
    begin, *lines = map(json.loads, answer.text.splitlines())
    return begin, {line["hash"] for line in lines}


def test_uploaded_keys_belong_to_the_segment_in_one_version(staff: Caller, store: Store) -> None:
    version = store.version("default", "production")
    answer = sent(staff, "ann\nbob\r\n\nann\n")
    assert answer == {
        "segment": "staff",
        "list": "included",
        "received": 3,
        "added": 2,
        "removed": 0,
        "count": 2,
        "revision": 3,
        "dry_run": False,
    }
    assert store.version("default", "production") == version + 1
    assert held(staff, "ann", "bob", "cleo") == {"ann": True, "bob": True, "cleo": False}
    segment = cast(Any, staff.get(STAFF).json)
    assert segment["included_set"]["count"] == 2
    assert "excluded_set" not in segment


def test_the_server_keeps_hashes_and_no_key(staff: Caller, raw: redis.Redis) -> None:
    sent(staff, "ann-with-a-secret-name\n")
    assert "ann-with-a-secret-name" not in raw_contents(raw)
    begin, found = hashes(staff)
    salted = f"{begin['salt']}:ann-with-a-secret-name"
    assert found == {sha256(salted.encode()).hexdigest()[:16]}
    assert begin["count"] == 1


def test_keys_join_and_leave_by_difference(staff: Caller) -> None:
    sent(staff, "ann\nbob\ncleo\n")
    added = sent(staff, "dan\nann\n", "add")
    assert (added["added"], added["removed"], added["count"]) == (1, 0, 4)
    removed = sent(staff, "ann\nnobody\n", "remove")
    assert (removed["added"], removed["removed"], removed["count"]) == (0, 1, 3)
    replaced = sent(staff, "dan\neve\n")
    assert (replaced["added"], replaced["removed"], replaced["count"]) == (1, 2, 2)
    assert held(staff, "ann", "bob", "dan", "eve") == {
        "ann": False,
        "bob": False,
        "dan": True,
        "eve": True,
    }


def test_what_is_sent_again_changes_nothing(staff: Caller, store: Store) -> None:
    first = sent(staff, "ann\nbob\n")
    version = store.version("default", "production")
    again = sent(staff, "bob\nann\n")
    assert (again["added"], again["removed"]) == (0, 0)
    assert again["revision"] == first["revision"]
    assert store.version("default", "production") == version


def test_a_dry_run_changes_nothing(staff: Caller, store: Store, raw: redis.Redis) -> None:
    before = set(cast("list[bytes]", raw.keys()))
    answer = sent(staff, "ann\n", dry_run="true")
    assert (answer["added"], answer["dry_run"]) == (1, True)
    assert "included_set" not in cast(Any, staff.get(STAFF).json)
    assert set(cast("list[bytes]", raw.keys())) == before


def test_a_replacement_by_nothing_is_probably_a_mistake(staff: Caller) -> None:
    sent(staff, "ann\n")
    refused = send(staff, "\n\n")
    assert (refused.status_code, slug(refused)) == (422, "invalid")
    assert "allow_empty" in refused.text
    assert sent(staff, "", allow_empty="true")["count"] == 0
    assert "included_set" not in cast(Any, staff.get(STAFF).json)
    assert staff.get(KEYS).status_code == 404


ODD = [
    '"',
    "\\",
    "ä",
    "😀",
    "a\tb",
    "a,b",
    "a;b",
    " \u2028x",
    "x" * 500,
    "null",
    "\u0000",
    "\n",
    " ",
]


@pytest.mark.parametrize("key", ODD)
def test_a_key_may_have_any_character(staff: Caller, key: str) -> None:
    sent(staff, json.dumps(key), kind="application/x-ndjson")
    assert held(staff, key) == {key: True}


def test_ndjson_has_strings_or_objects(staff: Caller) -> None:
    text = '"ann"\n{"key": "bob", "plan": "pro"}\n\n'
    assert sent(staff, text, kind="application/x-ndjson")["count"] == 2
    text = '{"email": "cleo"}\n'
    assert sent(staff, text, "add", kind="application/x-ndjson", column="email")["count"] == 3
    assert set(held(staff, "ann", "bob", "cleo").values()) == {True}


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ('id,email\n1,ann\n2,"b,ob"\n', "email"),
        ('targetingKey,x\nann,1\n"b,ob",2\n', ""),
        ('\ufeffkey\nann\n"b,ob"', ""),
        ('anything\r\nann\r\n"b,ob"\r\n', ""),
    ],
)
def test_csv_has_the_keys_in_a_column(staff: Caller, text: str, column: str) -> None:
    assert sent(staff, text, kind="text/csv", column=column)["count"] == 2
    assert set(held(staff, "ann", "b,ob").values()) == {True}


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("text/plain", "ann\n bob\n", "The key in line 2 has white space around it."),
        ("text/plain", b"ann\n\nb\xffb\n", "Line 3 is not UTF-8."),
        ("text/plain", "ann\n" + "x" * 501, "The key in line 2 is longer than 500 characters."),
        ("text/plain", "ann\n" + "x" * 70_000, "Line 2 is longer than 64 kB."),
        ("application/x-ndjson", '"ann"\n{"id": 1}', "Line 2 has no field 'key'."),
        ("application/x-ndjson", '"ann"\n7', "The key in line 2 must be a string."),
        ("application/x-ndjson", '"ann"\n""', "The key in line 2 is empty."),
        ("application/x-ndjson", "ann", "Line 1 is not JSON."),
        ("application/x-ndjson", '"\\ud800"', "Line 1 is not JSON."),
        ("text/csv", "a,b\n1,2\n", "Say which column has the keys; the first line names a, b."),
        ("text/csv", "key;b\nann;2\n", "Separate the columns with commas."),
        ("text/csv", "a,key\n1\n", "Line 2 has 1 columns, and the key is in column 2."),
        ("text/csv", 'key\n"ann', "is not CSV: unexpected end of data."),
    ],
)
def test_a_bad_line_is_named_and_nothing_changes(
    staff: Caller, kind: str, text: str | bytes, message: str
) -> None:
    sent(staff, "zoe\n")
    refused = send(staff, text, kind=kind)
    assert (refused.status_code, slug(refused)) == (422, "invalid")
    assert message in cast(Any, refused.json)["detail"]
    assert held(staff, "zoe", "ann") == {"zoe": True, "ann": False}


def test_gzip_is_read_to_its_end(staff: Caller) -> None:
    packed = gzip.compress(b"ann\nbob\n")
    compressed = {"Content-Encoding": "gzip"}
    assert sent(staff, packed, headers=compressed)["count"] == 2
    for broken, message in (
        (packed[:-3], "cut off"),
        (packed + b"x", "after the end"),
        (b"ann\n", "not gzip"),
    ):
        refused = send(staff, broken, headers=compressed)
        assert (refused.status_code, slug(refused)) == (422, "invalid")
        assert message in refused.text
    assert send(staff, packed, headers={"Content-Encoding": "br"}).status_code == 415


def test_a_gzip_bomb_is_refused(staff: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate_server.admin.segments.uploads.MAX_TEXT", 1024 * 1024)
    bomb = gzip.compress(b"\n" * (64 * 1024 * 1024))
    assert len(bomb) < 100_000
    refused = send(staff, bomb, headers={"Content-Encoding": "gzip"})
    assert (refused.status_code, slug(refused)) == (422, "invalid")
    assert "longer than 1 MB" in refused.text


def test_a_body_of_another_kind_is_refused(staff: Caller) -> None:
    assert send(staff, "ann", kind="application/json").status_code == 415
    assert pointers(send(staff, "ann", mode="merge")) == ["/mode"]


def test_a_project_has_a_limit_of_keys(staff: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate_server.domain.segment_validation.MAX_PROJECT_KEYS", 3)
    sent(staff, "ann\nbob\n")
    refused = send(staff, "cleo\ndan\n", list="excluded")
    assert (refused.status_code, slug(refused)) == (422, "invalid")
    assert "4 uploaded keys" in refused.text
    assert flags.MAX_UPLOADED_KEYS * 5 == flags.MAX_PROJECT_KEYS


def test_an_upload_is_refused_if_the_segment_has_another_revision(staff: Caller) -> None:
    assert send(staff, "ann\n", headers={"If-Match": '"1"'}).status_code == 412
    assert send(staff, "ann\n", headers={"If-Match": '"2"'}).status_code == 200


def test_an_upload_cannot_be_proposed(staff: Caller) -> None:
    refused = send(staff, "ann\n", headers={"Tidegate-Propose": "new staff"})
    assert (refused.status_code, slug(refused)) == (409, "not-possible")
    assert "without the header Tidegate-Propose" in refused.text


def test_an_upload_to_a_project_with_a_protected_environment_says_what_helps(
    staff: Caller,
) -> None:
    serve_staff(staff)
    fields = cast(Any, staff.get(PRODUCTION).json)
    fields = {name: fields[name] for name in fields if name not in ("revision", "updated_at")}
    changed = staff.put(PRODUCTION, {**fields, "required_approvals": 1}, match="*")
    assert changed.status_code == 200, changed.text
    refused = send(staff, "ann\n")
    assert slug(refused) == "approval-required"
    assert "cannot keep uploaded keys" in refused.text
    assert "a segment that nothing uses there" in refused.text
    assert held(staff, "ann") == {"ann": False}


def test_an_edit_of_the_segment_keeps_its_uploaded_keys(staff: Caller) -> None:
    sent(staff, "ann\n")
    sent(staff, "eve\n", list="excluded")
    changed = staff.put(STAFF, {"included": ["bob"], "name": "Our staff"}, match="*")
    assert changed.status_code == 200
    assert held(staff, "ann", "bob") == {"ann": True, "bob": True}
    assert held(staff, "eve", list="excluded") == {"eve": True}


def evaluate(caller: Caller, key: str) -> Any:
    body = {"context": {"targetingKey": key}}
    return caller.post_ok(f"{PRODUCTION}/flags/checkout/evaluate", body)["variant"]


def serve_staff(caller: Caller) -> None:
    targeting = {
        "enabled": True,
        "off_variant": "off",
        "default": {"variant": "off"},
        "rules": [{"id": "staff", "when": {"segment": "staff"}, "serve": {"variant": "on"}}],
    }
    answer = caller.put(f"{PRODUCTION}/flags/checkout", targeting, match="*")
    assert answer.status_code == 200, answer.text


def test_an_explained_evaluation_knows_uploaded_keys(staff: Caller) -> None:
    serve_staff(staff)
    sent(staff, "ann\nbob\n")
    assert [evaluate(staff, key) for key in ("ann", "bob", "cleo")] == ["on", "on", "off"]
    sent(staff, "bob\n", list="excluded")
    assert [evaluate(staff, key) for key in ("ann", "bob", "cleo")] == ["on", "off", "off"]


def test_an_explanation_says_whether_a_key_was_uploaded(staff: Caller) -> None:
    serve_staff(staff)
    sent(staff, "ann\nbob\n")
    for key, among in (("ann", "is among"), ("cleo", "is not among")):
        body = {"context": {"targetingKey": key}}
        steps = staff.post_ok(f"{PRODUCTION}/flags/checkout/evaluate", body)["steps"]
        (why,) = [each["why"] for each in steps if each["part"] == "rule"]
        assert f"the targeting key {among} 2 uploaded keys" in why


def test_excluded_keys_do_not_belong_to_it_even_if_they_are_included(staff: Caller) -> None:
    serve_staff(staff)
    assert staff.put(STAFF, {"included": ["ann", "bob"]}, match="*").status_code == 200
    sent(staff, "bob\n", list="excluded")
    assert [evaluate(staff, key) for key in ("ann", "bob", "cleo")] == ["on", "off", "off"]


def test_the_history_restores_uploaded_keys(staff: Caller) -> None:
    first = sent(staff, "ann\n")["revision"]
    sent(staff, "bob\n")
    restored = staff.post(f"{STAFF}/history/{first}/restore", match="*")
    assert restored.status_code == 200, restored.text
    assert held(staff, "ann", "bob") == {"ann": True, "bob": False}
    back = staff.post(f"{STAFF}/history/{first + 1}/restore", match="*")
    assert back.status_code == 200, back.text
    assert held(staff, "ann", "bob") == {"ann": False, "bob": True}


def test_a_deleted_segment_comes_back_with_its_keys(staff: Caller) -> None:
    revision = sent(staff, "ann\n")["revision"]
    assert staff.delete(STAFF, match="*").status_code == 204
    restored = staff.post(f"{STAFF}/history/{revision}/restore")
    assert restored.status_code in (200, 201), restored.text
    assert held(staff, "ann") == {"ann": True}


def test_only_the_last_key_sets_are_kept(staff: Caller, raw: redis.Redis) -> None:
    first = sent(staff, "user-0\n")["revision"]
    for number in range(1, 9):
        sent(staff, f"user-{number}\n")
    kept = cast("list[bytes]", raw.keys("*key-set:*"))
    assert len(kept) == 4
    assert sorted(raw.ttl(key) > 0 for key in kept) == [False, True, True, True]
    refused = staff.post(f"{STAFF}/history/{first}/restore", match="*")
    assert (refused.status_code, slug(refused)) == (404, "not-kept")
    assert "Upload them again" in refused.text
    assert held(staff, "user-8") == {"user-8": True}


def test_an_evaluation_at_a_time_says_whose_keys_of_then_are_gone(
    staff: Caller, store: Store
) -> None:
    serve_staff(staff)
    sent(staff, "ann\n")
    body = {"context": {"targetingKey": "ann"}, "at": instant_text(store.now_ms())}
    for number in range(4):
        assert staff.post_ok(f"{PRODUCTION}/flags/checkout/evaluate", body)["variant"] == "on"
        sent(staff, f"user-{number}\n")
    refused = staff.post(f"{PRODUCTION}/flags/checkout/evaluate", body)
    assert (refused.status_code, slug(refused)) == (404, "not-kept")
    assert "The keys that segment 'staff' had then are not kept" in refused.text


def test_the_audit_log_counts_the_keys_of_an_upload(staff: Caller) -> None:
    sent(staff, "ann\nbob\n", headers={"Tidegate-Reason": "new staff"})
    entry = cast(Any, staff.get(f"{PROJECT}/audit").json)["items"][0]
    assert (entry["action"], entry["reason"]) == ("segment.upload", "new staff")
    assert entry["details"]["added"] == 2
    changes = {each["pointer"]: each for each in entry["documents"][0]["changes"]}
    assert "ann" not in json.dumps(entry)
    assert any("included_set" in pointer for pointer in changes)


def test_a_segment_tells_what_uses_it(staff: Caller) -> None:
    serve_staff(staff)
    staff.post_ok(f"{PROJECT}/segments", {"key": "friends", "when": {"segment": "staff"}})
    uses = cast(Any, staff.get(f"{STAFF}/used-by").json)["items"]
    assert [each["text"] for each in uses] == [
        "rule staff of flag checkout in production",
        "segment friends",
    ]
    assert uses[0] == {
        "kind": "rule",
        "key": "checkout",
        "name": "staff",
        "environment": "production",
        "text": "rule staff of flag checkout in production",
    }
    assert staff.get(f"{PROJECT}/segments/nobody/used-by").status_code == 404


def test_people_cannot_write_the_condition_of_a_key_set(staff: Caller) -> None:
    when = {"key_set": "3f" * 32, "salt": "x", "count": 1}
    refused = staff.post(f"{PROJECT}/segments", {"key": "b", "when": when})
    assert (refused.status_code, pointers(refused)) == (422, ["/when"])
    assert "upload the keys" in refused.text


def test_segments_name_each_other_up_to_a_depth(staff: Caller) -> None:
    before = "staff"
    for number in range(1, 10):
        body = {"key": f"s{number}", "when": {"segment": before}}
        staff.post_ok(f"{PROJECT}/segments", body)
        before = f"s{number}"
    refused = staff.post(f"{PROJECT}/segments", {"key": "s10", "when": {"segment": before}})
    assert (refused.status_code, pointers(refused)) == (422, ["/when"])
    assert "s10 -> s9 -> s8" in refused.text
    staff.post_ok(f"{PROJECT}/segments", {"key": "below"})
    deeper = staff.put(STAFF, {"when": {"segment": "below"}}, match="*")
    assert (deeper.status_code, pointers(deeper)) == (422, ["/when"])
