"""The page of a segment: who is in it, what uses it, and how many seen users it holds."""

from __future__ import annotations

from tests.admin.test_previews import seen  # noqa: F401 - a fixture
from tests.http_calls import PRODUCTION, PROJECT, Caller

PAGE = "/p/default/segments/paying"


def test_a_segment_shows_how_many_seen_users_it_holds_and_what_uses_it(
    seen: Caller,  # noqa: F811
) -> None:
    assert "Nothing uses it" in seen.get(PAGE).text
    rule = {"id": "payers", "when": {"segment": "paying"}, "serve": {"variant": "on"}}
    body = {"enabled": True, "off_variant": "off", "default": {"variant": "off"}, "rules": [rule]}
    assert seen.put(f"{PRODUCTION}/flags/checkout", body, match="*").status_code == 200
    seen.post_ok(f"{PROJECT}/segments", {"key": "outer", "when": {"segment": "paying"}})
    page = seen.get(PAGE).text
    assert "<b>production</b>: 50 of 200 recently seen users (25.0 %)" in page
    assert 'href="/p/default/e/production/flags/checkout">rule payers of flag checkout' in page
    assert 'href="/p/default/segments/outer">segment outer' in page
    assert "Nothing uses it" not in page


def test_a_segment_of_uploaded_keys_is_not_empty(checkout: Caller) -> None:
    keys = "\n".join(f"user-{number}" for number in range(1_200))
    for chosen in ("included", "excluded"):
        sent = checkout.call(
            "POST",
            f"{PROJECT}/segments/staff/keys?mode=replace&list={chosen}",
            data=keys,
            content_type="text/plain",
        )
        assert sent.status_code == 200, sent.text
    page = checkout.get("/p/default/segments/staff").text
    assert "1,200 whose keys were uploaded" in page
    assert "Never 1,200 whose keys were uploaded" in page
    assert "Nobody yet" not in page
    assert "included; 1,200 excluded" in checkout.get("/p/default/segments").text
