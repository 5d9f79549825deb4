"""Projects are created, read, replaced and listed."""

from __future__ import annotations

from tests.http_calls import Caller, pointers, slug


def test_a_new_server_has_one_project(admin: Caller) -> None:
    listed = admin.get("/api/v1/projects").json
    assert listed is not None
    assert [item["key"] for item in listed["items"]] == ["default"]
    assert listed["next_cursor"] is None


def test_a_project_is_created_read_and_replaced(admin: Caller) -> None:
    created = admin.post("/api/v1/projects", {"key": "web", "name": "Web"})
    assert created.status_code == 201
    assert created.headers["Location"] == "/api/v1/projects/web"
    assert created.headers["ETag"] == '"1"'

    changed = admin.put("/api/v1/projects/web", {"name": "Website"}, match=created.headers["ETag"])
    assert changed.status_code == 200
    assert changed.headers["ETag"] == '"2"'
    read = admin.get("/api/v1/projects/web")
    assert read.json == changed.json
    assert read.json is not None
    assert (read.json["key"], read.json["name"]) == ("web", "Website")


def test_a_project_key_can_be_used_once(admin: Caller) -> None:
    refused = admin.post("/api/v1/projects", {"key": "default"})
    assert (refused.status_code, slug(refused)) == (409, "already-exists")


def test_the_key_of_a_project_cannot_change(admin: Caller) -> None:
    refused = admin.put("/api/v1/projects/default", {"key": "other"}, match='"1"')
    assert refused.status_code == 422
    assert pointers(refused) == ["/key"]


def test_an_equal_replacement_keeps_the_revision(admin: Caller) -> None:
    same = {"key": "default", "name": "Default", "description": ""}
    answer = admin.put("/api/v1/projects/default", same, match='"1"')
    assert answer.status_code == 200
    assert answer.headers["ETag"] == '"1"'


def test_a_project_token_lists_only_its_project(admin: Caller) -> None:
    admin.post_ok("/api/v1/projects", {"key": "web"})
    reader = admin.token_for("reader", "web", None)
    listed = reader.get("/api/v1/projects").json
    assert listed is not None
    assert [item["key"] for item in listed["items"]] == ["web"]
