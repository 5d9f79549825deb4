"""Token secrets are shown once; a token's scope is at most its creator's."""

from __future__ import annotations

import pytest
from tidegate_server.domain.change import Address, Kind
from tidegate_server.store import Store

from tests.http_calls import PROJECT, Caller, pointers, slug, stored_documents


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
    created = admin.post_ok("/api/v1/tokens", {"name": "ci", "role": "reader"})
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
        ({"rate_limit": 60}, "/rate_limit"),
        ({"rate_limit": 0}, "/rate_limit"),
        ({"id": "mine"}, "/id"),
    ],
)
def test_an_invalid_token_is_refused(
    admin: Caller, store: Store, change: dict[str, str], pointer: str
) -> None:
    before = stored_documents(store)
    refused = admin.post("/api/v1/tokens", {"name": "ci", "role": "reader", **change})
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
        body = {"name": "x", "role": "reader", "project": project, "environment": environment}
        assert slug(local.post("/api/v1/tokens", body)) == "forbidden"
    assert stored_documents(store) == before
    assert local.token_for("sdk", "default", "production").get("/sdk/v1/snapshot").json


def test_a_token_reads_and_deletes_only_tokens_in_its_scope(admin: Caller) -> None:
    local = admin.token_for("admin", "default", "production")
    other = admin.post_ok("/api/v1/tokens", {"name": "ci", "role": "reader"})
    listed = local.get("/api/v1/tokens").json
    assert listed is not None
    assert [item["name"] for item in listed["items"]] == ["a admin"]
    assert local.get(f"/api/v1/tokens/{other['id']}").status_code == 404
    assert local.delete(f"/api/v1/tokens/{other['id']}", match="*").status_code == 404
    assert admin.get(f"/api/v1/tokens/{other['id']}").status_code == 200
