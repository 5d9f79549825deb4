"""Projects are made, read, changed and listed."""

from __future__ import annotations

from tests.http_calls import Caller, pointers, slug


def test_a_fresh_server_has_one_project(admin: Caller) -> None:
    listed = admin.get("/api/v1/projects").json
    assert listed is not None
    assert [item["key"] for item in listed["items"]] == ["default"]
    assert listed["next_cursor"] is None


def test_a_project_is_made_read_and_changed(admin: Caller) -> None:
    made = admin.post("/api/v1/projects", {"key": "web", "name": "Web"})
    assert made.status_code == 201
    assert made.headers["Location"] == "/api/v1/projects/web"
    assert made.headers["ETag"] == '"1"'

    changed = admin.put("/api/v1/projects/web", {"name": "Website"}, match=made.headers["ETag"])
    assert changed.status_code == 200
    assert changed.headers["ETag"] == '"2"'
    read = admin.get("/api/v1/projects/web")
    assert read.json == changed.json
    assert read.json is not None
    assert (read.json["key"], read.json["name"]) == ("web", "Website")


def test_a_name_is_taken_once(admin: Caller) -> None:
    refused = admin.post("/api/v1/projects", {"key": "default"})
    assert (refused.status_code, slug(refused)) == (409, "already-exists")


def test_a_key_never_changes(admin: Caller) -> None:
    refused = admin.put("/api/v1/projects/default", {"key": "other"}, match='"1"')
    assert refused.status_code == 422
    assert pointers(refused) == ["/key"]


def test_saying_the_same_again_changes_nothing(admin: Caller) -> None:
    same = {"key": "default", "name": "Default", "description": ""}
    answer = admin.put("/api/v1/projects/default", same, match='"1"')
    assert answer.status_code == 200
    assert answer.headers["ETag"] == '"1"'


def test_a_token_of_one_project_sees_that_one(admin: Caller) -> None:
    admin.post_ok("/api/v1/projects", {"key": "web"})
    reader = admin.token_for("reader", "web", None)
    listed = reader.get("/api/v1/projects").json
    assert listed is not None
    assert [item["key"] for item in listed["items"]] == ["web"]
