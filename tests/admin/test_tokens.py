"""Tokens are shown once, reach as far as their maker's, and stop when deleted."""

from __future__ import annotations

import pytest
from tidegate_server.domain.change import Address, Kind
from tidegate_server.store import Store

from tests.http_calls import PROJECT, Caller, pointers, slug, stored_documents


def test_a_secret_is_shown_once(admin: Caller, store: Store) -> None:
    made = admin.post("/api/v1/tokens", {"name": "ci", "role": "writer", "project": "default"})
    assert made.status_code == 201
    token = made.json
    assert token is not None
    secret = token.pop("secret")
    assert secret.startswith(f"tg_writer_{token['id']}_")
    assert admin.get(made.headers["Location"]).json == token
    listed = admin.get("/api/v1/tokens")
    assert listed.json is not None
    assert token in listed.json["items"]
    assert secret.rpartition("_")[2] not in listed.text
    assert "digest" not in listed.text
    stored = store.get("", Address(Kind.TOKEN, token["id"]))
    assert stored is not None
    assert secret.rpartition("_")[2] not in repr(stored)
    assert Caller(admin.client, secret).get(f"{PROJECT}/flags").status_code == 200


def test_a_client_token_reads_nothing_but_evaluations(admin: Caller) -> None:
    asked = {"name": "web", "role": "client", "project": "default", "environment": "production"}
    made = admin.post_ok("/api/v1/tokens", {**asked, "rate_limit": 600})
    assert (made["role"], made["rate_limit"]) == ("client", 600)
    client = Caller(admin.client, made["secret"])
    for path in (f"{PROJECT}/flags", "/sdk/v1/snapshot", "/sdk/v1/stream", "/metrics"):
        assert slug(client.get(path)) == "forbidden"


def test_a_deleted_token_stops_working(admin: Caller) -> None:
    made = admin.post_ok("/api/v1/tokens", {"name": "ci", "role": "reader"})
    reader = Caller(admin.client, made["secret"])
    assert reader.get(f"{PROJECT}/flags").status_code == 200
    deleted = admin.delete(f"/api/v1/tokens/{made['id']}", match='"1"')
    assert deleted.status_code == 204
    assert reader.get(f"{PROJECT}/flags").status_code == 401


def test_the_last_admin_stays(admin: Caller, store: Store) -> None:
    before = stored_documents(store)
    refused = admin.delete("/api/v1/tokens/bootstrap", match='"1"')
    assert (refused.status_code, slug(refused)) == (409, "not-possible")
    assert stored_documents(store) == before


@pytest.mark.parametrize(
    ("asked", "pointer"),
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
def test_tokens_that_cannot_be_are_refused(
    admin: Caller, store: Store, asked: dict[str, str], pointer: str
) -> None:
    before = stored_documents(store)
    refused = admin.post("/api/v1/tokens", {"name": "ci", "role": "reader", **asked})
    assert refused.status_code == 422, refused.text
    assert pointers(refused) == [pointer]
    assert stored_documents(store) == before


def test_a_token_makes_none_that_reaches_further(admin: Caller, store: Store) -> None:
    admin.post_ok("/api/v1/projects", {"key": "web"})
    local = admin.token_for("admin", "default", "production")
    before = stored_documents(store)
    for project, environment in (
        (None, None),
        ("web", None),
        ("default", None),
        ("default", "development"),
    ):
        asked = {"name": "x", "role": "reader", "project": project, "environment": environment}
        assert slug(local.post("/api/v1/tokens", asked)) == "forbidden"
    assert stored_documents(store) == before
    assert local.token_for("sdk", "default", "production").get("/sdk/v1/snapshot").json


def test_a_token_sees_and_deletes_only_those_in_its_reach(admin: Caller) -> None:
    local = admin.token_for("admin", "default", "production")
    other = admin.post_ok("/api/v1/tokens", {"name": "ci", "role": "reader"})
    listed = local.get("/api/v1/tokens").json
    assert listed is not None
    assert [item["name"] for item in listed["items"]] == ["a admin"]
    assert local.get(f"/api/v1/tokens/{other['id']}").status_code == 404
    assert local.delete(f"/api/v1/tokens/{other['id']}", match="*").status_code == 404
    assert admin.get(f"/api/v1/tokens/{other['id']}").status_code == 200
