"""Somebody signs in with an identity provider in a real browser, and out of both again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from flask import Flask
from playwright.sync_api import Browser, expect
from tidegate_server.web.settings import ApiSettings

from tests.admin.test_provider_sign_in import Visitor, connect
from tests.dashboard.test_forms import etag_in
from tests.dashboard.visits import DESK, PHONE, visit
from tests.http_calls import Caller
from tests.openid_provider import CLIENT_ID, CLIENT_SECRET, new_rsa_key, running_provider
from tests.people import PASSWORD, invited, join
from tests.receiver import LOOPBACK


@pytest.fixture
def settings(settings: ApiSettings) -> ApiSettings:
    return replace(settings, identity_provider_networks=LOOPBACK)


def test_sign_in_with_a_provider_and_out_of_both(
    chromium: Browser, port: int, admin: Caller
) -> None:
    with running_provider(new_rsa_key("key-1")) as okta, visit(chromium, port, DESK) as at:
        mapping = {"provider_group": "devs", "grants": [{"role": "developer"}]}
        connect(admin, okta, group_mappings=[mapping])
        page = at.page
        at.go("/p/default/policies")
        page.get_by_role("link", name="Sign in with Okta").click()
        expect(page.get_by_role("heading", name="Policies")).to_be_visible()
        at.check()

        at.go("/you")
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_text("You are signed out of Tidegate")).to_be_visible()
        page.get_by_role("button", name="Sign out of Okta, too").click()
        expect(page.get_by_role("link", name="Sign in with Okta")).to_be_visible()
        assert "/end-session" in okta.asked

        okta.refusal = "access_denied"
        page.get_by_role("link", name="Sign in with Okta").click()
        expect(page.get_by_role("alert")).to_contain_text("Okta did not sign you in")


def test_what_was_typed_survives_signing_in_with_a_provider(
    chromium: Browser, port: int, admin: Caller
) -> None:
    with running_provider(new_rsa_key("key-1")) as okta, visit(chromium, port, DESK) as at:
        connect(
            admin, okta, group_mappings=[{"provider_group": "devs", "grants": [{"role": "admin"}]}]
        )
        page = at.page
        edit = "/p/default/segments/new"
        at.go(edit)
        page.get_by_role("link", name="Sign in with Okta").click()
        page.locator("#key").fill("late")
        page.get_by_label("Name").first.fill("It took <b>long</b>")
        page.context.clear_cookies(name="tidegate-http")
        page.get_by_role("button", name="Save").click()
        okta.refusal = "access_denied"
        page.get_by_role("link", name="Sign in with Okta").click()
        expect(page.get_by_role("alert")).to_contain_text("Okta did not sign you in")
        okta.refusal = ""
        page.get_by_role("link", name="Sign in with Okta").click()
        page.get_by_role("button", name="Back to what you typed").click()
        expect(page.get_by_text("Nothing was done yet")).to_be_visible()
        expect(page.locator("#key")).to_have_value("late")
        expect(page.get_by_label("Name").first).to_have_value("It took <b>long</b>")
        assert admin.get("/api/v1/projects/default/segments/late").status_code == 404

        page.context.clear_cookies(name="tidegate-http")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("Your session has ended.")).to_be_visible()
        at.go("/sign-in?next=/p/default/segments")
        page.get_by_role("link", name="Sign in with Okta").click()
        expect(page.get_by_role("heading", name="Segments")).to_be_visible()
        at.go(f"/sign-in/kept?next={edit}")
        expect(page.get_by_text("This tab has kept nothing")).to_be_visible()


def test_a_form_is_kept_without_a_script_while_another_tab_signs_in(
    app: Flask, admin: Caller
) -> None:
    with running_provider(new_rsa_key("key-1")) as okta:
        connect(admin, okta)
        join(app, admin, "ada@example.com", {"role": "admin"})
        form = {"key": "late", "next": "/p/default/segments/new"}
        browser = app.test_client()
        refused = browser.post("/p/default/segments/new", data=form)
        assert refused.status_code == 401
        assert "Go on with what you typed" in refused.text
        kept = {"next": form["next"], "kept_form": '[["key", "late"]]'}
        early = browser.post("/sign-in/kept", data=kept)
        assert early.status_code == 401
        assert "Nobody is signed in yet." in early.text
        assert "Go on with what you typed" in early.text
        body = {"email": "ada@example.com", "password": PASSWORD}
        assert browser.post("/api/v1/sign-in", json=body).status_code == 200
        back = browser.post("/sign-in/kept", data=kept)
        assert back.status_code == 200
        assert 'name="key" value="late"' in back.text
        assert browser.post("/sign-in/kept", data={"next": "/projects"}).location == "/projects"
        foreign = browser.post(
            "/sign-in/kept", data=kept, headers={"Origin": "https://evil.example"}
        )
        assert foreign.status_code == 403
        assert "late" not in foreign.text


def test_an_owner_connects_a_provider_on_its_page(app: Flask, admin: Caller) -> None:
    with running_provider(new_rsa_key("key-1")) as okta:
        root = join(app, admin, "root@example.com", {"role": "admin"})
        home = "/p/default/settings/identity-providers"
        page = f"{home}/okta"

        def send(path: str, **fields: str) -> str:
            data = {"csrf_token": root.csrf, **fields}
            return root.client.post(path, data=data, follow_redirects=True).text

        new = {"key": "okta", "name": "Okta", "issuer": okta.issuer, "client_id": CLIENT_ID}
        assert 'id="issuer-error"' in send(home, **{**new, "issuer": "ftp://okta.example"})
        assert "/sign-in/with/okta/callback" in send(home, **new)
        secret = send(page, do="secret", client_secret=CLIENT_SECRET)
        assert "one is kept; nobody can read it" in secret
        assert CLIENT_SECRET not in secret
        too_long = send(page, do="secret", client_secret="x" * 5_000)
        assert 'id="client_secret-error"' in too_long
        assert "xxx" not in too_long
        where = {"provider_group": "devs", "role": "developer", "where": "default"}
        assert "developer in all of default" in send(page, do="map", **where)
        boxes = {"enabled": "yes", "create_people": "yes"}
        fields = {**new, **boxes, "email_domains": "example.com example.org", "scopes": "openid"}
        assert "Saved." in send(page, do="save", groups_claim="groups", **fields)
        stored = admin.get("/api/v1/identity-providers/okta").json
        assert stored is not None
        assert stored["email_domains"] == ["example.com", "example.org"]
        assert (stored["create_people"], stored["require_verified_email"]) == (True, False)
        assert stored["group_mappings"][0]["grants"][0]["project"] == "default"

        assert "It answers." in send(page, do="test")
        gives = "role developer default"
        assert "Nothing yet." in send(page, do="unmap", mapping="devs", gives=gives)
        assert "none is kept" in send(page, do="forget")
        ada = join(app, admin, "ada@example.com", {"role": "admin", "project": "default"})
        assert ada.get(page).status_code == 403
        assert "Sign-in</a>" not in ada.get("/p/default/settings/people").text
        asked = etag_in(root.get(f"{page}/delete").text)
        assert "Okta is removed." in send(f"{page}/delete", etag=asked)
    assert admin.get("/api/v1/identity-providers/okta").status_code == 404
    assert admin.post("/api/v1/identity-providers/okta/test").status_code == 404


def test_groups_of_a_provider_give_roles_one_by_one(
    chromium: Browser, port: int, app: Flask, admin: Caller
) -> None:
    join(app, admin, "root@example.com", {"role": "admin"})
    admin.post_ok("/api/v1/roles", {"key": "opener", "permissions": ["read", "release"]})
    grants = [{"role": "responder", "project": "default"}]
    admin.post_ok("/api/v1/groups", {"key": "on-call", "grants": grants})
    with running_provider(new_rsa_key("key-1")) as okta, visit(chromium, port, DESK) as at:
        viewers = {"provider_group": "all", "grants": [{"role": "viewer"}]}
        connect(admin, okta, group_mappings=[viewers])
        page = at.page
        at.sign_in("root@example.com")
        at.go("/p/default/settings/identity-providers/okta")
        card = page.get_by_role("region", name="What its groups give")
        roles = card.locator("form").filter(has=page.get_by_role("heading", name="Give a role"))
        joins = card.locator("form").filter(
            has=page.get_by_role("heading", name="Make its members those of a group here")
        )

        def give(role: str, where: str) -> None:
            roles.get_by_label("Group there").fill("devs")
            roles.get_by_label("Role").select_option(role)
            roles.get_by_label("Where").select_option(where)
            roles.get_by_role("button", name="Give it").click()

        def gifts() -> list[tuple[str, str]]:
            rows = card.get_by_role("row").filter(has=page.locator("td")).all()
            cells = [each.locator("td").first.inner_text() for each in rows]
            return [(title, says) for title, _, says in (each.partition("\n") for each in cells)]

        give("developer", "default")
        expect(page.get_by_text("members have it from their next sign-in on")).to_be_visible()
        give("opener", "default/production")
        expect(card.get_by_text("opener in production of default")).to_be_visible()
        joins.get_by_label("Group there").fill("devs")
        joins.get_by_label("Group here").select_option("on-call")
        joins.get_by_role("button", name="Make them members").click()
        expect(card.get_by_text("the group on-call")).to_be_visible()
        assert gifts() == [
            ("viewer in the whole server", "sees everything, changes nothing"),
            ("the group on-call", "responder in all of default"),
            ("developer in all of default", "changes flags, segments and policies"),
            ("opener in production of default", "read, release"),
        ]
        give("developer", "default")
        expect(roles.get_by_text("devs gives this already.")).to_be_visible()
        assert roles.get_by_label("Group there").input_value() == "devs"

        take = "Take developer in all of default away from devs"
        card.get_by_role("button", name=take).click()
        expect(page.get_by_text("Taken away: members lose it within 2 s.")).to_be_visible()
        expect(card.get_by_role("button", name=take)).to_be_hidden()
        card.get_by_role("button", name="Take viewer in the whole server away from all").click()
        expect(card.get_by_role("rowheader")).to_have_text(["devs", "devs"])
        at.go("/p/default/settings/identity-providers/okta")
        at.check()
    stored = admin.get("/api/v1/identity-providers/okta").json
    assert stored is not None
    assert stored["group_mappings"] == [
        {
            "provider_group": "devs",
            "groups": ["on-call"],
            "grants": [{"role": "opener", "project": "default", "environment": "production"}],
        }
    ]


def test_a_provider_that_does_not_answer_says_why(admin: Caller) -> None:
    with running_provider(new_rsa_key("key-1")) as gone:
        connect(admin, gone)
    tried = admin.post_ok("/api/v1/identity-providers/okta/test", {})
    assert tried["works"] is False
    assert gone.issuer in tried["problem"]
    page = "/p/default/settings/identity-providers/okta"
    assert "It does not work." in admin.call("POST", page, data={"do": "test"}).text


def test_accept_an_invitation_with_a_provider(chromium: Browser, port: int, admin: Caller) -> None:
    with running_provider(new_rsa_key("key-1")) as okta, visit(chromium, port, PHONE) as at:
        connect(admin, okta, email_domains=[], create_people=False)
        link = invited(admin, "ada@example.com", {"role": "developer"})
        at.go("/invitation#" + link.rpartition("#")[2])
        at.page.get_by_role("button", name="Begin with Okta").click()
        expect(at.page.locator(".side-foot")).to_contain_text("ada@example.com")


def test_an_admin_takes_an_identity_away(chromium: Browser, port: int, admin: Caller) -> None:
    with running_provider(new_rsa_key("key-1")) as okta, visit(chromium, port, DESK) as at:
        mapping = {"provider_group": "devs", "grants": [{"role": "developer"}]}
        connect(admin, okta, group_mappings=[mapping])
        at.go("/sign-in")
        at.page.get_by_role("link", name="Sign in with Okta").click()
        expect(at.page.locator(".side-foot")).to_contain_text("ada@example.com")
        [person] = (admin.get("/api/v1/people").json or {})["items"]
        here = f"/p/default/settings/people/{person['id']}"
        assert f"{okta.issuer}" in admin.get(here).text
        taken = admin.call("POST", f"{here}/unlink?identity={person['identities'][0]['id']}")
        assert taken.status_code == 303
        assert "Take away" not in admin.get(here).text
        at.go("/you")
        expect(at.page.get_by_role("link", name="Sign in with Okta")).to_be_visible()


def test_members_by_an_identity_provider_are_members(app: Flask, admin: Caller) -> None:
    developers = [{"role": "developer", "project": "default"}]
    for key in ("here", "other"):
        admin.post_ok("/api/v1/groups", {"key": key, "grants": developers})
    with running_provider(new_rsa_key("key-1")) as okta:
        mapping = {"provider_group": "devs", "groups": ["here"]}
        connect(admin, okta, group_mappings=[mapping])
        page = admin.get("/p/default/settings/groups/here").text
        assert "and by groups at Okta." in page
        assert "/p/default/settings/groups/here/delete" not in page
        okta.user.update(email="ann@example.com", name="Ann", groups=["devs"])
        Visitor(app.test_client()).sign_in()
    page = admin.get("/p/default/settings/groups/here").text
    assert 'Ann</b></a> <span class="dim">by Okta</span>' in page
    asked = admin.get("/p/default/settings/groups/here/delete").text
    assert "Groups at Okta make people members of it. Take that away first." in asked
    assert "nobody loses anything" not in asked
    assert "It has no members" in admin.get("/p/default/settings/groups/other/delete").text
    asked = admin.get(
        "/p/default/settings/groups/here/withdraw?role=developer&project=default"
    ).text
    assert "1 member can no longer do" in asked
