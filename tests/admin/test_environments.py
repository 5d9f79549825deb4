"""Environments are created with every flag of the project."""

from __future__ import annotations

import pytest

from tests.http_calls import PROJECT, Caller, pointers, slug


def test_the_default_project_has_two_environments(admin: Caller) -> None:
    listed = admin.get(f"{PROJECT}/environments").json
    assert listed is not None
    assert [item["key"] for item in listed["items"]] == ["development", "production"]


def test_a_new_environment_has_every_flag(checkout: Caller) -> None:
    created = checkout.post(f"{PROJECT}/environments", {"key": "staging"})
    assert created.status_code == 201
    assert created.headers["Location"] == f"{PROJECT}/environments/staging"
    targeting = checkout.get(f"{PROJECT}/environments/staging/flags/checkout").json
    assert targeting is not None
    assert targeting["default"] == {"variant": "off"}


def test_an_environment_is_replaced(admin: Caller) -> None:
    path = f"{PROJECT}/environments/production"
    read = admin.get(path)
    changed = admin.put(path, {"name": "Live"}, match=read.headers["ETag"])
    assert changed.status_code == 200
    assert admin.get(path).json == changed.json


def test_an_environment_has_allowed_origins(admin: Caller) -> None:
    path = f"{PROJECT}/environments/production"
    read = admin.get(path)
    assert read.json is not None
    assert read.json["allowed_origins"] == []
    origins = ["https://shop.example", "http://localhost:3000", "app://shop", "*"]
    changed = admin.put(path, {"allowed_origins": origins}, match=read.headers["ETag"])
    assert changed.json is not None
    assert changed.json["allowed_origins"] == origins


@pytest.mark.parametrize(
    "origin",
    ["shop.example", "https://shop.example/", "https://*.example", "https://Shop.example", "null"],
)
def test_an_invalid_origin_is_refused(admin: Caller, origin: str) -> None:
    path = f"{PROJECT}/environments/production"
    refused = admin.put(path, {"allowed_origins": [origin]}, match="*")
    assert pointers(refused) == ["/allowed_origins/0"]


def test_an_environment_token_lists_only_its_environment(admin: Caller) -> None:
    reader = admin.token_for("reader", "default", "production")
    listed = reader.get(f"{PROJECT}/environments").json
    assert listed is not None
    assert [item["key"] for item in listed["items"]] == ["production"]


def test_the_error_names_what_does_not_exist(admin: Caller) -> None:
    for path, words in (
        ("/api/v1/projects/nope/environments", "project 'nope'"),
        ("/api/v1/projects/nope/environments/production", "project 'nope'"),
        (f"{PROJECT}/environments/nope", "environment 'nope'"),
    ):
        missing = admin.get(path)
        assert (missing.status_code, slug(missing)) == (404, "not-found")
        assert words in missing.text
