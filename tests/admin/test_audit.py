"""The audit log says who did what; it has pages and contains no secrets."""

from __future__ import annotations

from tests.http_calls import PRODUCTION, PROJECT, Caller, slug


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
    created = admin.post_ok("/api/v1/tokens", {"name": "ci", "role": "reader"})
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
