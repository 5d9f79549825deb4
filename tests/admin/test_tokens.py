"""Token secrets are shown once; a token's scope is at most its creator's."""

from __future__ import annotations

import pytest
from flask import Flask
from tidegate_server.domain.change import Address
from tidegate_server.domain.kinds import Kind
from tidegate_server.store import Store

from tests.http_calls import PRODUCTION, PROJECT, Caller, pointers, slug, stored_documents


def test_the_secret_of_a_token_is_shown_once(admin: Caller, store: Store) -> None:
    created = admin.post("/api/v1/tokens", {"name": "ci", "role": "writer", "project": "default"})
    assert created.status_code == 201
    token = created.json
    assert token is not None
    secret = token.pop("secret")
    assert secret.startswith(f"tg_writer_{token['id']}_")
    assert admin.get(created.headers["Location"]).json == token
    listed = admin.get("/api/v1/tokens")
    assert listed.json is not None
    assert token in listed.json["items"]
    assert secret.rpartition("_")[2] not in listed.text
    assert "digest" not in listed.text
    stored = store.get("", Address(Kind.TOKEN, token["id"]))
    assert stored is not None
    assert secret.rpartition("_")[2] not in repr(stored)
    assert Caller(admin.client, secret).get(f"{PROJECT}/flags").status_code == 200


def test_a_client_token_may_only_evaluate_flags(admin: Caller) -> None:
    body = {"name": "web", "role": "client", "project": "default", "environment": "production"}
    created = admin.post_ok("/api/v1/tokens", {**body, "rate_limit": 600})
    assert (created["role"], created["rate_limit"]) == ("client", 600)
    client = Caller(admin.client, created["secret"])
    for path in (f"{PROJECT}/flags", "/sdk/v1/snapshot", "/sdk/v1/stream", "/metrics"):
        assert slug(client.get(path)) == "forbidden"


def test_a_deleted_token_stops_working(admin: Caller) -> None:
    created = admin.post_ok(
        "/api/v1/tokens", {"name": "ci", "role": "reader", "whole_server": True}
    )
    reader = Caller(admin.client, created["secret"])
    assert reader.get(f"{PROJECT}/flags").status_code == 200
    deleted = admin.delete(f"/api/v1/tokens/{created['id']}", match='"1"')
    assert deleted.status_code == 204
    assert reader.get(f"{PROJECT}/flags").status_code == 401


def test_the_last_admin_token_cannot_be_deleted(admin: Caller, store: Store) -> None:
    before = stored_documents(store)
    refused = admin.delete("/api/v1/tokens/bootstrap", match='"1"')
    assert (refused.status_code, slug(refused)) == (409, "not-possible")
    assert stored_documents(store) == before


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"role": "king"}, "/role"),
        ({"name": ""}, "/name"),
        ({"project": "nope"}, "/project"),
        ({"project": "default", "environment": "nope"}, "/environment"),
        ({"environment": "production"}, "/project"),
        ({"role": "sdk", "project": "default"}, "/environment"),
        ({"role": "client", "project": "default"}, "/environment"),
        ({"whole_server": False}, "/project"),
        ({"project": "default", "whole_server": True}, "/whole_server"),
        ({"rate_limit": 60}, "/rate_limit"),
        ({"rate_limit": 0}, "/rate_limit"),
        ({"id": "mine"}, "/id"),
        ({"role": "custom"}, "/permissions"),
        ({"permissions": ["kill"]}, "/permissions"),
        ({"role": "custom", "permissions": ["fly"]}, "/permissions/0"),
        ({"expires_in": "0s"}, "/expires_in"),
        ({"networks": ["10.0.0.1/8"]}, "/networks/0"),
    ],
)
def test_an_invalid_token_is_refused(
    admin: Caller, store: Store, change: dict[str, str], pointer: str
) -> None:
    before = stored_documents(store)
    body = {"name": "ci", "role": "reader", "whole_server": "project" not in change, **change}
    refused = admin.post("/api/v1/tokens", body)
    assert refused.status_code == 422, refused.text
    assert pointers(refused) == [pointer]
    assert stored_documents(store) == before


def test_a_token_cannot_create_a_token_with_a_wider_scope(admin: Caller, store: Store) -> None:
    admin.post_ok("/api/v1/projects", {"key": "web"})
    local = admin.token_for("admin", "default", "production")
    before = stored_documents(store)
    for project, environment in (
        (None, None),
        ("web", None),
        ("default", None),
        ("default", "development"),
    ):
        place = {"project": project, "environment": environment, "whole_server": project is None}
        body = {"name": "x", "role": "reader", **place}
        assert slug(local.post("/api/v1/tokens", body)) == "forbidden"
    assert stored_documents(store) == before
    assert local.token_for("sdk", "default", "production").get("/sdk/v1/snapshot").json


def test_a_token_reads_and_deletes_only_tokens_in_its_scope(admin: Caller) -> None:
    local = admin.token_for("admin", "default", "production")
    other = admin.post_ok("/api/v1/tokens", {"name": "ci", "role": "reader", "whole_server": True})
    listed = local.get("/api/v1/tokens").json
    assert listed is not None
    assert [item["name"] for item in listed["items"]] == ["a admin"]
    assert local.get(f"/api/v1/tokens/{other['id']}").status_code == 404
    assert local.delete(f"/api/v1/tokens/{other['id']}", match="*").status_code == 404
    assert admin.get(f"/api/v1/tokens/{other['id']}").status_code == 200


def test_nobody_gives_permissions_that_they_lack(admin: Caller) -> None:
    keeper = admin.post_ok(
        "/api/v1/tokens",
        {
            "name": "keeper",
            "role": "custom",
            "permissions": ["administer", "read"],
            "project": "default",
        },
    )
    caller = Caller(admin.client, keeper["secret"])
    place = {"project": "default"}
    refused = caller.post("/api/v1/tokens", {"name": "x", "role": "responder", **place})
    assert slug(refused) == "forbidden"
    assert "kill" in refused.text
    caller.post_ok("/api/v1/tokens", {"name": "x", "role": "viewer", **place})
    assert caller.token_for("sdk", "default", "production").get("/sdk/v1/snapshot").json


def test_a_custom_role_allows_what_it_lists_and_nothing_else(checkout: Caller) -> None:
    made = checkout.post_ok(
        "/api/v1/tokens",
        {
            "name": "alarm",
            "role": "custom",
            "permissions": ["kill", "kill", "read"],
            "project": "default",
            "environment": "production",
        },
    )
    assert made["permissions"] == ["read", "kill"]
    caller = Caller(checkout.client, made["secret"])
    assert caller.post(f"{PRODUCTION}/flags/checkout/kill").status_code == 200
    assert slug(caller.post(f"{PROJECT}/flags", {"key": "x", "type": "boolean"})) == "forbidden"


def test_a_token_stops_working_when_it_expires(
    admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"name": "ci", "role": "viewer", "project": "default", "expires_in": "1h"}
    made = admin.post_ok("/api/v1/tokens", body)
    caller = Caller(admin.client, made["secret"])
    assert caller.get(f"{PROJECT}/flags").status_code == 200
    monkeypatch.setattr("tidegate_server.web.authentication._now_ms", lambda: 2**60)
    refused = caller.get(f"{PROJECT}/flags")
    assert refused.status_code == 401
    assert "expired" in refused.text


def test_a_token_works_only_from_its_networks(admin: Caller) -> None:
    body = {"name": "ci", "role": "viewer", "project": "default", "networks": ["10.0.0.0/8"]}
    made = admin.post_ok("/api/v1/tokens", body)
    caller = Caller(admin.client, made["secret"])
    refused = caller.get(f"{PROJECT}/flags")
    assert slug(refused) == "forbidden"
    assert "10.0.0.0/8" in refused.text
    for address in ("10.1.2.3", "::ffff:10.1.2.3"):
        inside = caller.get(f"{PROJECT}/flags", environ_overrides={"REMOTE_ADDR": address})
        assert inside.status_code == 200, address
    for address in ("11.1.2.3", "::ffff:11.1.2.3", "::1", "unix:", ""):
        outside = caller.get(f"{PROJECT}/flags", environ_overrides={"REMOTE_ADDR": address})
        assert slug(outside) == "forbidden", address


def test_a_rotated_token_works_with_both_secrets_for_a_while(
    admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = admin.post_ok("/api/v1/tokens", {"name": "ci", "role": "viewer", "project": "default"})
    old = Caller(admin.client, first["secret"])
    assert old.get(f"{PROJECT}/flags").status_code == 200
    path = f"/api/v1/tokens/{first['id']}/rotate"
    second = admin.post_ok(path, {"overlap": "10m"})
    new = Caller(admin.client, second["secret"])
    assert second["id"] == first["id"]
    assert second["previous_secret_until"] is not None
    assert [each.get(f"{PROJECT}/flags").status_code for each in (old, new)] == [200, 200]
    monkeypatch.setattr("tidegate_server.web.authentication._now_ms", lambda: 2**60)
    assert [each.get(f"{PROJECT}/flags").status_code for each in (old, new)] == [401, 200]
    monkeypatch.undo()
    third = admin.post_ok(path, {"overlap": "0s"})
    newest = Caller(admin.client, third["secret"])
    tried = [each.get(f"{PROJECT}/flags").status_code for each in (old, new, newest)]
    assert tried == [401, 401, 200]


def test_a_token_says_when_it_was_last_used(admin: Caller, app: Flask) -> None:
    made = admin.post_ok("/api/v1/tokens", {"name": "ci", "role": "viewer", "project": "default"})
    assert (made["last_used_at"], made["last_used_from"]) == (None, None)
    Caller(admin.client, made["secret"]).get(f"{PROJECT}/flags")
    app.extensions["tidegate"].authenticator.close()
    shown = admin.get(f"/api/v1/tokens/{made['id']}").json
    assert shown is not None
    assert shown["last_used_from"] == "127.0.0.1"
    assert shown["last_used_at"] > made["created_at"][:10]


def test_an_answer_says_whether_its_reader_may_rotate_the_token(admin: Caller) -> None:
    body = {"name": "deploy", "role": "release_manager", "project": "default"}
    strong = admin.post_ok("/api/v1/tokens", body)
    assert (strong["rotatable"], strong["person"]) == (True, "")
    keeper = admin.post_ok(
        "/api/v1/tokens",
        {
            **{"name": "keeper", "role": "custom", "project": "default"},
            "permissions": ["read", "administer"],
        },
    )
    reader = Caller(admin.client, keeper["secret"])
    seen = reader.get(f"/api/v1/tokens/{strong['id']}").json
    assert seen is not None
    assert seen["rotatable"] is False
    refused = reader.post(f"/api/v1/tokens/{strong['id']}/rotate", {})
    assert slug(refused) == "forbidden"
