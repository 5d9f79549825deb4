"""Environments are made with every flag in them."""

from __future__ import annotations

import pytest

from tests.http_calls import PROJECT, Caller, pointers, slug


def test_a_fresh_project_has_two(admin: Caller) -> None:
    listed = admin.get(f"{PROJECT}/environments").json
    assert listed is not None
    assert [item["key"] for item in listed["items"]] == ["development", "production"]


def test_a_new_one_has_every_flag(checkout: Caller) -> None:
    made = checkout.post(f"{PROJECT}/environments", {"key": "staging"})
    assert made.status_code == 201
    assert made.headers["Location"] == f"{PROJECT}/environments/staging"
    targeting = checkout.get(f"{PROJECT}/environments/staging/flags/checkout").json
    assert targeting is not None
    assert targeting["default"] == {"variant": "off"}


def test_one_is_described_anew(admin: Caller) -> None:
    path = f"{PROJECT}/environments/production"
    read = admin.get(path)
    changed = admin.put(path, {"name": "Live"}, match=read.headers["ETag"])
    assert changed.status_code == 200
    assert admin.get(path).json == changed.json


def test_one_names_the_pages_that_may_ask_for_evaluations(admin: Caller) -> None:
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
def test_what_is_no_origin_is_refused(admin: Caller, origin: str) -> None:
    path = f"{PROJECT}/environments/production"
    refused = admin.put(path, {"allowed_origins": [origin]}, match="*")
    assert pointers(refused) == ["/allowed_origins/0"]


def test_a_token_of_one_environment_sees_that_one(admin: Caller) -> None:
    reader = admin.token_for("reader", "default", "production")
    listed = reader.get(f"{PROJECT}/environments").json
    assert listed is not None
    assert [item["key"] for item in listed["items"]] == ["production"]


def test_what_is_not_there_is_named(admin: Caller) -> None:
    for path, words in (
        ("/api/v1/projects/nope/environments", "project 'nope'"),
        ("/api/v1/projects/nope/environments/production", "project 'nope'"),
        (f"{PROJECT}/environments/nope", "environment 'nope'"),
    ):
        missing = admin.get(path)
        assert (missing.status_code, slug(missing)) == (404, "not-found")
        assert words in missing.text
