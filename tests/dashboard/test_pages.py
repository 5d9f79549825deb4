"""Every page is made from the API's answers: for an empty project, for one with everything in it,
and with hostile texts in every field."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from urllib.parse import urlsplit

import pytest
from flask import Flask
from tidegate_server.web.own_paths import own_path
from werkzeug.test import TestResponse

from tests.dashboard.every_page import LEADS_ELSEWHERE, PAGES
from tests.http_calls import PRODUCTION, PROJECT, Caller

PLACE = "/p/default/e/production"
EMPTY_PAGES = (
    *(f"{PLACE}/flags", f"{PLACE}/flags?q=nothing", f"{PLACE}/flags/new", f"{PLACE}/releases"),
    *(f"{PLACE}/releases/new", f"{PLACE}/instances", f"{PLACE}/search?q=a"),
    *("/p/default/segments", "/p/default/segments/new", "/p/default/policies"),
    *("/p/default/policies/new", "/p/default/policies/new?from=careful", "/p/default/audit"),
    *(f"/p/default/settings/{tab}" for tab in ("environments", "tokens", "people", "webhooks")),
    *("/p/default/settings/hooks", "/you"),
)
FULL_PAGES = (
    *(f"{PLACE}/flags/checkout", f"{PLACE}/flags/checkout/rules", f"{PLACE}/flags/checkout/kill"),
    *(f"{PLACE}/flags/checkout/restore", f"{PLACE}/releases/new?flag=checkout"),
    *(f"{PLACE}/flags?state=releasing", f"{PLACE}/search?q=checkout&part=1"),
    *("/p/default/segments/staff", "/p/default/segments/staff/edit"),
    *("/p/default/policies/careful", "/p/default/policies/careful/edit"),
    *("/p/default/audit?actor=nobody", "/p/default/audit?environment=production"),
)
ACTIONS = ("pause", "stop", "resume", "advance", "begin", "approve", "rollback", "complete")


class Page(HTMLParser):
    """Collects what a page must not have, and what it must."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.forbidden: list[str] = []
        self.headings: list[str] = []
        self.ids: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "style" or name.startswith("on"):
                self.forbidden.append(f"{tag} {name}={value}")
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src", "action") and (value or "").lower().startswith("javascript"):
                self.forbidden.append(f"{tag} {name}={value}")
        if tag == "script":
            self.scripts.append(dict(attrs).get("src") or "inline")
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(tag)


def check(response: TestResponse) -> str:
    """Check what holds for every page, and return its text."""
    assert response.status_code == 200, response.text
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert response.headers["X-Frame-Options"] == "DENY"
    assert response.headers["Cache-Control"] == "no-store"
    page = Page(response.text)
    assert page.forbidden == []
    assert all(script.startswith("/assets/") for script in page.scripts)
    assert len(page.ids) == len(set(page.ids)), sorted(page.ids)
    if "<main" in response.text:
        assert page.headings.count("h1") == 1
    assert len(response.data) < 60_000
    return response.text


def test_every_page_is_looked_at(app: Flask) -> None:
    """A new page needs a line in ``every_page.py``, so that ``test_every_page.py`` checks it."""
    adapter = app.url_map.bind("127.0.0.1")
    looked_at = set()
    for page in (*PAGES, *LEADS_ELSEWHERE):
        path = urlsplit(re.sub(r"\{\w+\}", "x", page)).path
        looked_at.add(adapter.match(path, return_rule=True)[0].rule)
    shown = {
        rule.rule
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("dashboard.") and "GET" in (rule.methods or ())
    }
    assert shown - {"/assets/<version>/<name>"} == looked_at


@pytest.mark.parametrize("address", EMPTY_PAGES)
def test_a_page_of_an_empty_project(admin: Caller, address: str) -> None:
    check(admin.get(address))


@pytest.mark.parametrize("address", [*EMPTY_PAGES, *FULL_PAGES])
def test_a_page_of_a_project_with_a_release(checkout: Caller, release: str, address: str) -> None:
    check(checkout.get(address))


def test_the_pages_of_a_release(checkout: Caller, release: str) -> None:
    base = f"{PLACE}/releases/{release.rpartition('/')[2]}"
    assert "Running" in check(checkout.get(base))
    for action in ACTIONS:
        check(checkout.get(f"{base}/{action}"))
    assert checkout.get(f"{base}/nothing").status_code == 404
    assert "no decision to compute again yet" in check(checkout.get(f"{base}/replay"))
    check(checkout.get(f"{base}/compare"))
    assert checkout.post(f"{release}/rollback", {"reason": "too slow"}).status_code == 200
    over = check(checkout.get(base))
    assert "Rolled back" in over
    assert "too slow" in over


def test_the_palette_has_each_page_once(checkout: Caller) -> None:
    page = f"{PLACE}/flags/checkout"
    found = checkout.get(f"{PLACE}/search?q=kill&part=1", headers={"Referer": page}).text
    assert found.count(f'href="{page}/kill"') == 1


def test_a_page_says_what_it_does_not_find(admin: Caller) -> None:
    for address in (
        f"{PLACE}/flags/nothing",
        f"{PLACE}/releases/nothing",
        "/p/nothing/e/production/flags",
        "/p/default/e/nothing/flags",
        "/p/default/policies/nothing",
    ):
        response = admin.get(address)
        assert response.status_code == 404
        assert "<h1>" in response.text


def test_who_is_not_signed_in_signs_in_first(app: Flask) -> None:
    response = app.test_client().get(f"{PLACE}/flags?q=a%26b")
    assert response.status_code == 303
    assert (
        response.headers["Location"] == "/sign-in?next=/p/default/e/production/flags%3Fq%3Da%2526b"
    )


def test_assets_never_change_under_one_address(admin: Caller) -> None:
    text = check(admin.get(f"{PLACE}/flags"))
    addresses = set(re.findall(r'"(/assets/[^"]+)"', text))
    assert len(addresses) >= 4
    for address in addresses:
        response = admin.get(address)
        assert response.status_code == 200
        assert "immutable" in response.headers["Cache-Control"]
        assert admin.get(address.replace("/assets/", "/assets/0")).status_code == 404


HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{7*7}}"


def test_hostile_texts_are_harmless_on_every_page(admin: Caller) -> None:
    admin.post_ok(
        f"{PROJECT}/flags",
        {
            "key": "hostile",
            "type": "string",
            "name": HOSTILE,
            "description": HOSTILE,
            "owner": HOSTILE,
            "tags": [HOSTILE],
            "variants": [
                {"key": "a", "value": HOSTILE},
                {"key": "b", "value": "javascript:alert(1)"},
            ],
        },
    )
    targeting = admin.get(f"{PRODUCTION}/flags/hostile")
    document = {
        "enabled": True,
        "off_variant": "b",
        "default": {"variant": "a"},
        "rules": [
            {
                "id": "hostile",
                "when": {"attribute": HOSTILE, "operator": "equals", "value": HOSTILE},
                "serve": {"variant": "a"},
            }
        ],
    }
    saved = admin.put(f"{PRODUCTION}/flags/hostile", document, match=targeting.headers["ETag"])
    assert saved.status_code == 200, saved.text
    admin.post_ok(f"{PROJECT}/segments", {"key": "hostile", "name": HOSTILE, "included": [HOSTILE]})
    admin.post_ok(f"{PRODUCTION}/flags/hostile/kill", {"reason": HOSTILE})
    pages = (
        *(*EMPTY_PAGES, f"{PLACE}/flags/hostile", f"{PLACE}/flags/hostile/rules"),
        *(f"{PLACE}/flags/hostile/kill", f"{PLACE}/flags/hostile/restore"),
        *("/p/default/segments/hostile", "/p/default/segments/hostile/edit"),
        *(f"{PLACE}/flags?q={HOSTILE}", f"{PLACE}/search?q={HOSTILE}"),
    )
    for address in pages:
        text = check(admin.get(address))
        assert "<script>alert" not in text
        assert "<img" not in text
        assert "49}}" not in text


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        ("/p/default/e/production/flags?q=a#b", "/p/default/e/production/flags?q=a#b"),
        ("https://evil.example/", "/"),
        ("//evil.example/", "/"),
        ("/\\evil.example/", "/"),
        ("/\t/evil.example/", "/"),
        ("\\\\evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("http:///evil.example", "/"),
        ("", "/"),
    ],
)
def test_signing_in_leads_to_this_server_only(wanted: str, path: str) -> None:
    assert own_path(wanted) == path


def test_a_flags_page_says_what_happened_to_it_here(checkout: Caller, release: str) -> None:
    definition = checkout.get(f"{PROJECT}/flags/checkout").json
    assert definition is not None
    fields = ("key", "type", "salt", "variants")
    edited = {**{name: definition[name] for name in fields}, "owner": "payments"}
    because = {"Tidegate-Reason": "they own it now"}
    path = f"{PROJECT}/flags/checkout"
    assert checkout.put(path, edited, match="*", headers=because).status_code == 200
    checkout.post_ok(f"{PRODUCTION}/flags/checkout/kill", {"reason": "charged twice"})
    checkout.post_ok(f"{PRODUCTION}/flags/checkout/restore", {"reason": "fixed"})
    development = f"{PROJECT}/environments/development/flags/checkout"
    checkout.post_ok(f"{development}/kill", {"reason": "only there"})
    checkout.post_ok(f"{PROJECT}/segments", {"key": "checkout"})
    page = check(checkout.get(f"{PLACE}/flags/checkout"))
    assert 'href="/p/default/audit?key=checkout"' in page
    lately = page.partition('id="lately"')[2].partition("</ul>")[0]
    lines = [
        *("restored checkout", "killed checkout", "changed the flag checkout"),
        *("started the release of checkout", "made the flag checkout"),
    ]
    places = [lately.find(each) for each in lines]
    assert -1 not in places
    assert places == sorted(places), "the latest first"
    assert lately.count("made the flag checkout") == 1
    assert "they own it now" in lately
    assert "only there" not in lately
    assert "segment" not in lately
    reader = checkout.token_for("reader", "default", "production")
    page = check(reader.get(f"{PLACE}/flags/checkout"))
    lately = page.partition('id="lately"')[2].partition("</ul>")[0]
    assert "made the flag checkout" in lately, "from its versions"
    assert 'href="/p/default/audit?key=checkout"' not in page


def test_a_flags_page_says_what_happened_here_however_much_happened_elsewhere(
    checkout: Caller,
) -> None:
    checkout.post_ok(f"{PRODUCTION}/flags/checkout/kill", {"reason": "charged twice"})
    development = f"{PROJECT}/environments/development/flags/checkout"
    for _ in range(21):
        checkout.post_ok(f"{development}/kill", {"reason": "tried"})
        checkout.post_ok(f"{development}/restore", {"reason": "tried"})
    page = check(checkout.get(f"{PLACE}/flags/checkout"))
    lately = page.partition('id="lately"')[2].partition("</ul>")[0]
    lines = ("killed checkout", "made the flag checkout")
    assert [lately.count(each) for each in lines] == [1, 1]


@pytest.mark.parametrize(("kinds", "key"), [("segments", "staff"), ("policies", "careful")])
def test_the_page_of_a_segment_or_a_policy_says_who_changed_it(
    checkout: Caller, kinds: str, key: str
) -> None:
    page = check(checkout.get(f"/p/default/{kinds}/{key}"))
    kind = {"segments": "segment", "policies": "policy"}[kinds]
    history = page.partition('id="history"')[2].partition("</section>")[0]
    assert f"made the {kind} {key}" in history
    assert history.count('class="entry') == 1, "nothing about anything else"
    assert f"/p/default/audit?object={kind}&amp;key={key}" in history
    address = re.search(r'href="(/p/default/audit/[0-9-]+)"', history)
    assert address is not None
    assert key in check(checkout.get(address[1]))
    reader = checkout.token_for("reader", "default", "production")
    assert 'id="history"' not in reader.get(f"/p/default/{kinds}/{key}").text


def test_a_release_that_was_a_draft_says_who_made_it_and_who_began_it(checkout: Caller) -> None:
    body = {"flag": "checkout", "treatment": "on", "policy": "careful", "draft": True}
    made = checkout.post_ok(f"{PRODUCTION}/releases", {**body, "reason": "to measure first"})
    because = {"reason": "it looks well"}
    checkout.post_ok(f"{PRODUCTION}/releases/{made['id']}/begin", because)
    page = check(checkout.get(f"{PLACE}/releases/{made['id']}"))
    ledger = page.partition('id="ledger"')[2]
    assert "to measure first" in ledger
    assert "it looks well" in ledger
