"""Lists of flags: searched, filtered, sorted, with totals, in pages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from tidegate_server.admin.document_reader import read_project_documents
from tidegate_server.domain import flag_edits
from tidegate_server.store import Store

from tests.http_calls import PRODUCTION, PROJECT, Caller, pointers

LIST = f"{PRODUCTION}/flags"


@pytest.fixture
def shop(checkout: Caller, release: str) -> Caller:
    """Return the admin of a project with a flag in each state."""
    more: dict[str, dict[str, Any]] = {
        "banner": {"tags": ["shop"], "name": "Big banner"},
        "dark-mode": {"owner": "web"},
        "search": {"tags": ["shop"], "owner": "web"},
    }
    for key, fields in more.items():
        checkout.post_ok(f"{PROJECT}/flags", {"key": key, "type": "boolean", **fields})
    checkout.post_ok(f"{LIST}/banner/kill", {"reason": "errors"})
    targeting = checkout.get(f"{LIST}/dark-mode").json
    assert targeting is not None
    body = {"enabled": False, "off_variant": "off", "default": targeting["default"]}
    assert checkout.put(f"{LIST}/dark-mode", body, match='"1"').status_code == 200
    return checkout


def listed(caller: Caller, query: str = "") -> list[str]:
    answer = caller.get(f"{LIST}?{query}")
    assert answer.status_code == 200, answer.text
    assert answer.json is not None
    return [each["flag"] for each in answer.json["items"]]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["banner", "checkout", "dark-mode", "search"]),
        ("state=killed", ["banner"]),
        ("state=disabled", ["dark-mode"]),
        ("state=releasing", ["checkout"]),
        ("state=enabled", ["search"]),
        ("release=any", ["checkout"]),
        ("release=running", ["checkout"]),
        ("release=paused", []),
        ("release=none", ["banner", "dark-mode", "search"]),
        ("tag=shop", ["banner", "search"]),
        ("owner=web&state=enabled", ["search"]),
        ("q=big+BANN", ["banner"]),
        ("sort=-key", ["search", "dark-mode", "checkout", "banner"]),
        ("sort=-updated&limit=2", ["dark-mode", "banner"]),
        ("archived=true", []),
    ],
)
def test_a_list_shows_the_flags_that_are_asked_for(
    shop: Caller, query: str, expected: list[str]
) -> None:
    assert listed(shop, query) == expected


def test_the_totals_are_of_the_filter_without_its_state(shop: Caller) -> None:
    answer = shop.get(f"{LIST}?state=killed").json
    assert answer is not None
    assert answer["total"] == 1
    assert answer["totals"] == {
        **{"all": 4, "killed": 1, "disabled": 1, "releasing": 1, "enabled": 1},
    }
    answer = shop.get(f"{LIST}?tag=shop&limit=1").json
    assert answer is not None
    assert (answer["total"], answer["totals"]["all"], len(answer["items"])) == (2, 2, 1)


def test_a_list_is_expanded_only_on_request(shop: Caller, release: str) -> None:
    plain = shop.get(f"{LIST}?state=releasing").json
    assert plain is not None
    assert not {"definition", "active_release"} & plain["items"][0].keys()
    expanded = shop.get(f"{LIST}?expand=flag,release").json
    assert expanded is not None
    by_flag = {each["flag"]: each for each in expanded["items"]}
    assert by_flag["checkout"]["active_release"] == shop.get(release).json
    assert by_flag["search"]["active_release"] is None
    assert by_flag["search"]["definition"] == shop.get(f"{PROJECT}/flags/search").json


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("state=on", "/state"),
        ("sort=size", "/sort"),
        ("expand=all", "/expand"),
        ("release=x", "/release"),
    ],
)
def test_what_a_list_does_not_know_is_refused(shop: Caller, query: str, pointer: str) -> None:
    answer = shop.get(f"{LIST}?{query}")
    assert (answer.status_code, pointers(answer)) == (422, [pointer])


def test_a_list_shows_what_another_server_changed(
    shop: Caller, store: Store, second: Store
) -> None:
    assert listed(shop, "tag=new") == []
    flag = shop.get(f"{PROJECT}/flags/banner").json
    assert flag is not None

    documents = read_project_documents(second, "default")
    new = replace(documents.flag("banner").document, tags=("new",))
    second.commit(flag_edits.edit_flag(documents, new, actor="other", now_ms=0))
    assert listed(shop, "tag=new") == ["banner"]


@pytest.fixture
def second(store: Store) -> Iterator[Store]:
    """Return the store as another server has opened it."""
    opened = Store.connect(store.url)
    yield opened
    opened.close()


def test_the_list_of_a_project_is_searched_and_sorted_alike(shop: Caller) -> None:
    answer = shop.get(f"{PROJECT}/flags?q=web&sort=-name").json
    assert answer is not None
    assert [each["key"] for each in answer["items"]] == ["search", "dark-mode"]
    assert answer["total"] == 2
    refused = shop.get(f"{PROJECT}/flags?state=killed")
    assert pointers(refused) == ["/state"]
