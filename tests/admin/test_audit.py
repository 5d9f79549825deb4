"""The audit log tells who did what, page by page, and holds no secrets."""

from __future__ import annotations

from tests.http_calls import PRODUCTION, PROJECT, Caller, slug


def test_every_change_is_there_the_latest_first(checkout: Caller) -> None:
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


def test_the_log_goes_by_pages(checkout: Caller) -> None:
    whole = checkout.get(f"{PROJECT}/audit").json
    assert whole is not None
    seen = []
    cursor = ""
    while cursor is not None:
        page = checkout.get(f"{PROJECT}/audit?limit=2&cursor={cursor}").json
        assert page is not None
        seen += page["items"]
        cursor = page["next_cursor"]
    assert seen == whole["items"]


def test_the_server_has_one_of_its_own(admin: Caller) -> None:
    made = admin.post_ok("/api/v1/tokens", {"name": "ci", "role": "reader"})
    answer = admin.get("/api/v1/audit")
    assert answer.json is not None
    assert answer.json["items"][0]["action"] == "token.create"
    assert answer.json["items"][0]["target"] == made["id"]
    assert made["secret"].rpartition("_")[2] not in answer.text


def test_a_token_of_a_project_does_not_see_the_servers(admin: Caller) -> None:
    reader = admin.token_for("reader", "default", None)
    assert reader.get(f"{PROJECT}/audit").status_code == 200
    assert slug(reader.get("/api/v1/audit")) == "forbidden"


def test_a_token_of_an_environment_does_not_see_the_others(admin: Caller) -> None:
    reader = admin.token_for("reader", "default", "production")
    assert slug(reader.get(f"{PROJECT}/audit")) == "forbidden"
