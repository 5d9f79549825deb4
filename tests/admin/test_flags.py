"""Flags are created, replaced and deleted in every environment at once."""

from __future__ import annotations

import pytest
from tidegate_server.store import Store

from tests.http_calls import PRODUCTION, PROJECT, Caller, pointers, slug

BANNER = {
    "key": "banner",
    "type": "string",
    "variants": [{"key": "red", "value": "#f00"}, {"key": "Blue", "value": "#00f"}],
    "name": "Banner",
    "description": "Which colour\nthe banner has",
    "tags": ["shop"],
    "client_side": True,
    "metadata": {"owner": "payments", "priority": 2, "share": 0.5, "public": True},
}


def test_a_boolean_flag_without_variants_gets_on_and_off(admin: Caller) -> None:
    created = admin.post(f"{PROJECT}/flags", {"key": "checkout", "type": "boolean"})
    assert created.status_code == 201
    assert created.headers["Location"] == f"{PROJECT}/flags/checkout"
    assert created.json is not None
    assert created.json["variants"] == [
        {"key": "on", "value": True},
        {"key": "off", "value": False},
    ]
    assert created.json["salt"] == "checkout"


def test_a_flag_is_read_as_it_was_written(admin: Caller) -> None:
    created = admin.post_ok(f"{PROJECT}/flags", BANNER)
    assert {**BANNER, "salt": "banner"}.items() <= created.items()
    assert admin.get(f"{PROJECT}/flags/banner").json == created


def test_a_replaced_flag_keeps_its_salt(admin: Caller) -> None:
    admin.post_ok(f"{PROJECT}/flags", {**BANNER, "salt": "imported"})
    changed = admin.put(
        f"{PROJECT}/flags/banner", {**BANNER, "name": "The banner", "tags": []}, match='"1"'
    )
    assert changed.status_code == 200
    assert changed.json is not None
    assert (changed.json["name"], changed.json["salt"]) == ("The banner", "imported")
    assert changed.headers["ETag"] == '"2"'


@pytest.mark.parametrize("match", ['"2"', '"x",,W/"y"', '""', '"', ""])
def test_an_if_match_that_names_no_current_revision_is_refused(admin: Caller, match: str) -> None:
    admin.post_ok(f"{PROJECT}/flags", BANNER)
    refused = admin.put(f"{PROJECT}/flags/banner", BANNER, match=match)
    assert (refused.status_code, slug(refused)) == (412, "stale-revision")


def test_a_changed_value_reaches_every_environment(admin: Caller, store: Store) -> None:
    admin.post_ok(f"{PROJECT}/flags", BANNER)
    before = {env: store.version("default", env) for env in ("development", "production")}
    variants = [{"key": "red", "value": "#e00"}, {"key": "Blue", "value": "#00f"}]
    admin.put(f"{PROJECT}/flags/banner", {**BANNER, "variants": variants}, match='"1"')
    for environment, version in before.items():
        assert store.version("default", environment) == version + 1
        assert b"#e00" in store.snapshot("default", environment).body


def test_a_deleted_flag_disappears_from_every_environment(admin: Caller, store: Store) -> None:
    admin.post_ok(f"{PROJECT}/flags", BANNER)
    assert admin.delete(f"{PROJECT}/flags/banner?force=true", match='"1"').status_code == 204
    assert admin.get(f"{PROJECT}/flags/banner").status_code == 404
    assert admin.get(f"{PRODUCTION}/flags/banner").status_code == 404
    assert b"banner" not in store.snapshot("default", "production").body


def test_a_flag_with_an_active_release_cannot_be_deleted(checkout: Caller, release: str) -> None:
    refused = checkout.delete(f"{PROJECT}/flags/checkout", match='"1"')
    assert (refused.status_code, slug(refused)) == (409, "not-possible")


def test_a_flag_that_is_not_boolean_needs_variants(admin: Caller) -> None:
    refused = admin.post(f"{PROJECT}/flags", {"key": "banner", "type": "string"})
    assert refused.status_code == 422
    assert pointers(refused) == ["/variants"]


def test_the_list_of_flags_has_pages(admin: Caller) -> None:
    for key in "abcde":
        admin.post_ok(f"{PROJECT}/flags", {"key": key, "type": "boolean"})
    keys: list[str] = []
    cursor = ""
    while True:
        page = admin.get(f"{PROJECT}/flags?limit=2&cursor={cursor}").json
        assert page is not None
        keys += [item["key"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = page["next_cursor"]
    assert keys == list("abcde")


def test_an_invalid_page_query_is_refused(admin: Caller) -> None:
    for query, pointer in (
        ("limit=0", "/limit"),
        ("limit=501", "/limit"),
        ("limit=x", "/limit"),
        ("cursor=%25%25", "/cursor"),
        ("page=2", "/page"),
    ):
        refused = admin.get(f"{PROJECT}/flags?{query}")
        assert refused.status_code == 422, query
        assert pointers(refused) == [pointer]


def test_metadata_is_an_object_of_flat_values(admin: Caller) -> None:
    for metadata, pointer in (([], "/metadata"), ({"owner": {"a": 1}}, "/metadata/owner")):
        refused = admin.post(f"{PROJECT}/flags", {**BANNER, "metadata": metadata})
        assert refused.status_code == 422
        assert pointers(refused) == [pointer]


def test_changed_metadata_reaches_every_environment(admin: Caller, store: Store) -> None:
    admin.post_ok(f"{PROJECT}/flags", BANNER)
    changed = admin.put(
        f"{PROJECT}/flags/banner", {**BANNER, "metadata": {"owner": "search"}}, match='"1"'
    )
    assert changed.status_code == 200
    for environment in ("development", "production"):
        body = store.snapshot("default", environment).body
        assert b"search" in body
        assert b"payments" not in body


def test_a_temporary_flag_has_an_owner_and_an_expected_end(admin: Caller) -> None:
    flag = {**BANNER, "owner": "payments", "temporary": True, "expected_end": "2027-01-31"}
    created = admin.post_ok(f"{PROJECT}/flags", flag)
    assert flag.items() <= created.items()
    assert admin.get(f"{PROJECT}/flags/banner").json == created
    changed = admin.put(f"{PROJECT}/flags/banner", {**flag, "expected_end": None}, match='"1"')
    assert changed.json is not None
    assert (changed.status_code, changed.json["expected_end"]) == (200, None)
    diff = admin.get(f"{PROJECT}/flags/banner/history/1/diff").json
    assert diff is not None
    assert "2027-01-31" in str(diff)
    audit = admin.get(f"{PROJECT}/audit?key=banner").json
    assert audit is not None
    [change] = audit["items"][0]["documents"][0]["changes"]
    assert (change["pointer"], change["before"]) == ("/expected_end", "2027-01-31")


def test_a_flag_of_an_earlier_version_is_permanent_and_has_no_owner(admin: Caller) -> None:
    created = admin.post_ok(f"{PROJECT}/flags", BANNER)
    assert (created["owner"], created["temporary"], created["expected_end"]) == ("", False, None)


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"expected_end": "2027-01-31"}, "/expected_end"),
        ({"temporary": True, "expected_end": "31.1.2027"}, "/expected_end"),
        ({"temporary": True, "expected_end": "2027-02-30"}, "/expected_end"),
        ({"temporary": "yes"}, "/temporary"),
        ({"owner": "x" * 201}, "/owner"),
    ],
)
def test_an_impossible_lifetime_is_refused(
    admin: Caller, fields: dict[str, object], pointer: str
) -> None:
    refused = admin.post(f"{PROJECT}/flags", {**BANNER, **fields})
    assert refused.status_code == 422
    assert pointers(refused) == [pointer]


def test_flags_are_listed_by_owner_and_tag_over_pages(admin: Caller) -> None:
    for key, owner, tags in (
        ("a", "payments", ["shop"]),
        ("b", "search", ["shop"]),
        ("c", "payments", []),
        ("d", "payments", ["shop", "slow"]),
    ):
        flag = {"key": key, "type": "boolean", "owner": owner, "tags": tags}
        admin.post_ok(f"{PROJECT}/flags", flag)

    def keys(query: str) -> tuple[list[str], str | None]:
        page = admin.get(f"{PROJECT}/flags?{query}").json
        assert page is not None
        return [each["key"] for each in page["items"]], page["next_cursor"]

    assert keys("owner=payments") == (["a", "c", "d"], None)
    assert keys("tag=shop") == (["a", "b", "d"], None)
    assert keys("owner=payments&tag=shop") == (["a", "d"], None)
    first, cursor = keys("owner=payments&limit=2")
    assert first == ["a", "c"]
    assert keys(f"owner=payments&limit=2&cursor={cursor}") == (["d"], None)
    assert keys("owner=nobody") == ([], None)


def test_an_archived_flag_is_kept_but_no_application_gets_it(admin: Caller, store: Store) -> None:
    admin.post_ok(f"{PROJECT}/flags", BANNER)
    evaluate = f"{PRODUCTION}/flags/banner/evaluate"
    assert admin.post_ok(evaluate, {"context": {}})["variant"] == "red"
    archived = admin.post(f"{PROJECT}/flags/banner/archive", {"reason": "The sale is over."})
    assert archived.status_code == 200
    assert archived.json is not None
    assert archived.json["archived"]["reason"] == "The sale is over."
    assert archived.headers["ETag"] == '"2"'
    assert admin.get(f"{PROJECT}/flags/banner").json == archived.json
    assert b"banner" not in store.snapshot("default", "production").body
    assert admin.post_ok(evaluate, {"context": {}})["error_code"] == "FLAG_NOT_FOUND"
    for query, keys in (("", []), ("?archived=false", []), ("?archived=true", ["banner"])):
        page = admin.get(f"{PROJECT}/flags{query}").json
        assert page is not None
        assert [each["key"] for each in page["items"]] == keys
    back = admin.post_ok(f"{PROJECT}/flags/banner/unarchive", {})
    assert "archived" not in back
    assert b"banner" in store.snapshot("default", "production").body


def test_a_replaced_archived_flag_stays_archived(admin: Caller, store: Store) -> None:
    admin.post_ok(f"{PROJECT}/flags", BANNER)
    admin.post_ok(f"{PROJECT}/flags/banner/archive", {})
    replaced = admin.put(f"{PROJECT}/flags/banner", {**BANNER, "name": "Sale"}, match='"2"')
    assert replaced.json is not None
    assert replaced.json["archived"] is not None
    assert b"banner" not in store.snapshot("default", "production").body


def test_a_flag_is_deleted_when_it_is_archived(admin: Caller) -> None:
    admin.post_ok(f"{PROJECT}/flags", BANNER)
    refused = admin.delete(f"{PROJECT}/flags/banner", match="*")
    assert (refused.status_code, slug(refused)) == (409, "not-possible")
    assert "Archive it first" in refused.text
    assert admin.delete(f"{PROJECT}/flags/banner?force=1", match="*").status_code == 422
    admin.post_ok(f"{PROJECT}/flags/banner/archive", {})
    assert admin.delete(f"{PROJECT}/flags/banner", match="*").status_code == 204
    recreated = admin.post(f"{PROJECT}/flags/banner/history/2/restore")
    assert recreated.json is not None
    assert (recreated.status_code, "archived" in recreated.json) == (200, False)


def test_an_archive_that_names_another_revision_is_refused(admin: Caller) -> None:
    admin.post_ok(f"{PROJECT}/flags", BANNER)
    refused = admin.post(f"{PROJECT}/flags/banner/archive", {}, match='"7"')
    assert slug(refused) == "stale-revision"
    assert slug(admin.post(f"{PROJECT}/flags/gone/archive", {})) == "not-found"
