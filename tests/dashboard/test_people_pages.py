"""Pages about people, groups, roles and tokens: they offer what their reader may do, say what will
happen, and refuse the rest."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import Browser, expect

from tests.dashboard.test_forms import etag_in
from tests.dashboard.visits import DESK, PHONE, visit
from tests.http_calls import Caller
from tests.people import PASSWORD, join

SETTINGS = "/p/default/settings"
IN_DEFAULT = {"role": "developer", "project": "default", "environment": None}
ADMIN = {"role": "admin"}
PARTS = ("people", "groups", "roles", "tokens")


def send(caller: Caller, path: str, **fields: Any) -> Any:
    return caller.call("POST", f"{SETTINGS}/{path}", data=fields)


def delete(caller: Caller, path: str) -> Any:
    """Answer the question whether to delete something, as its page asks it."""
    asked = caller.get(f"{SETTINGS}/{path}/delete").text
    return send(caller, f"{path}/delete", etag=etag_in(asked))


def read(caller: Caller, path: str) -> dict[str, Any]:
    answer: dict[str, Any] | None = caller.get(f"/api/v1/{path}").json
    assert answer is not None
    return answer


def shown_secret(page: str) -> str:
    return page.partition('id="secret">')[2].partition("<")[0]


def person_with(admin: Caller, email: str, *grants: dict[str, Any], **more: Any) -> str:
    made = admin.post_ok("/api/v1/people", {"email": email, "grants": list(grants), **more})
    return str(made["id"])


@pytest.fixture
def ada(admin: Caller) -> str:
    return person_with(admin, "ada@example.com", IN_DEFAULT, name="Ada")


def test_a_person_is_invited_with_a_role_in_a_place(app: Flask, admin: Caller) -> None:
    sent = send(
        admin, "people", email="eve@example.com", role="responder", where="default/production"
    )
    assert sent.status_code == 200
    link = shown_secret(sent.text)
    assert "/invitation#" in link
    assert link not in admin.get(f"{SETTINGS}/people").text
    client = app.test_client()
    body = {"invitation": link, "name": "Eve", "password": PASSWORD}
    assert client.post("/api/v1/invitations/accept", json=body).status_code == 200
    [eve] = [each for each in read(admin, "people")["items"] if each["name"] == "Eve"]
    assert eve["grants"] == [
        {"role": "responder", "project": "default", "environment": "production"}
    ]


def test_what_is_wrong_stands_beside_its_field_and_nothing_typed_is_lost(admin: Caller) -> None:
    person_with(admin, "eve@example.com", IN_DEFAULT)
    sent = send(
        admin, "people", email="eve@example.com", name="Eva", role="viewer", where="default"
    )
    assert sent.status_code == 422
    assert 'id="email-error"' in sent.text
    assert 'value="Eva"' in sent.text
    no_place = send(admin, "tokens", name="shop", role="sdk", where="default")
    assert no_place.status_code == 422
    assert 'id="where-error"' in no_place.text
    no_permission = send(admin, "roles", key="empty", permissions="")
    assert 'id="permissions-error"' in no_permission.text


def test_roles_are_given_and_withdrawn(admin: Caller, ada: str) -> None:
    given = send(admin, f"people/{ada}", do="grant", role="viewer", where="*")
    assert given.status_code == 303, given.text
    assert len(read(admin, f"people/{ada}")["grants"]) == 2
    asked = admin.get(f"{SETTINGS}/people/{ada}/withdraw?role=viewer")
    assert "Withdraw viewer in the whole server from Ada?" in asked.text
    assert len(read(admin, f"people/{ada}")["grants"]) == 2
    done = send(admin, f"people/{ada}/withdraw?role=viewer", reason="left the team")
    assert done.status_code == 303
    assert read(admin, f"people/{ada}")["grants"] == [IN_DEFAULT]
    assert "left the team" in admin.get(f"{SETTINGS}/people/{ada}").text


def test_groups_that_a_form_did_not_show_stay(admin: Caller, ada: str) -> None:
    for key in ("one", "two", "three"):
        admin.post_ok("/api/v1/groups", {"key": key, "grants": [IN_DEFAULT]})
    path = f"people/{ada}"
    send(admin, path, do="groups", shown=["one", "two"], group=["one"])
    send(admin, path, do="groups", shown=["two", "three"], group=["two"])
    assert sorted(read(admin, path)["groups"]) == ["one", "two"]


def test_deactivating_says_what_happens_and_can_be_taken_back(
    app: Flask, admin: Caller, ada: str
) -> None:
    eve = join(app, admin, "eve@example.com", IN_DEFAULT)
    path = f"people/{eve.person['id']}"
    assert "signed out everywhere" in admin.get(f"{SETTINGS}/{path}/deactivate").text
    assert send(admin, f"{path}/deactivate").status_code == 303
    assert eve.get("/api/v1/me").status_code == 401
    assert send(admin, path, do="activate").status_code == 303
    assert read(admin, path)["active"] is True


def test_sessions_of_a_person_are_ended(app: Flask, admin: Caller) -> None:
    eve = join(app, admin, "eve@example.com", IN_DEFAULT)
    path = f"people/{eve.person['id']}"
    page = admin.get(f"{SETTINGS}/{path}").text
    [one] = re.findall(r"end-sessions\?session=([^\"]+)", page)
    assert send(admin, f"{path}/end-sessions?session={one}").status_code == 303
    assert eve.get("/api/v1/me").status_code == 401


def test_a_conflict_loses_nothing(admin: Caller, ada: str) -> None:
    path = f"people/{ada}"
    etag = admin.get(f"/api/v1/{path}").headers["ETag"]
    send(admin, path, do="grant", role="viewer", where="*")
    refused = send(admin, path, do="details", etag=etag, name="Ada L.", email="ada@example.com")
    assert refused.status_code == 412
    assert 'value="Ada L."' in refused.text


def test_groups_and_roles_are_made_used_and_deleted(admin: Caller, ada: str) -> None:
    made = send(admin, "roles", key="stopper", permissions=["read", "kill"])
    assert made.status_code == 303, made.text
    made = send(admin, "groups", key="on-call", role="stopper", where="default")
    assert made.status_code == 303, made.text
    send(admin, f"people/{ada}", do="groups", shown=["on-call"], group=["on-call"])
    assert "Ada" in admin.get(f"{SETTINGS}/groups/on-call").text
    assert f"{SETTINGS}/groups/on-call/delete" not in admin.get(f"{SETTINGS}/groups/on-call").text
    assert delete(admin, "groups/on-call").status_code == 409
    assert "on-call" in admin.get(f"{SETTINGS}/roles/stopper").text
    assert delete(admin, "roles/stopper").status_code == 409
    changed = send(admin, "roles/stopper", name="Stops", permissions=["read"])
    assert changed.status_code == 303
    assert read(admin, "roles/stopper")["permissions"] == ["read"]
    asked = admin.get(f"{SETTINGS}/groups/on-call/withdraw?role=stopper&project=default")
    assert "1 member can no longer do" in asked.text
    send(admin, "groups/on-call/withdraw?role=stopper&project=default")
    assert read(admin, "groups/on-call")["grants"] == []
    assert delete(admin, "roles/stopper").status_code == 303
    send(admin, f"people/{ada}", do="groups", shown=["on-call"])
    assert delete(admin, "groups/on-call").status_code == 303


def test_a_group_says_what_it_gives_and_who_is_in_it(app: Flask, admin: Caller, ada: str) -> None:
    everywhere = {"role": "viewer", "project": None, "environment": None}
    eve = join(app, admin, "eve@example.com", {**IN_DEFAULT, "role": "admin"})
    for key, grants in (("empty", []), ("everywhere", [everywhere]), ("here", [IN_DEFAULT])):
        admin.post_ok("/api/v1/groups", {"key": key, "grants": grants})
    send(admin, f"people/{ada}", do="groups", shown=["everywhere"], group=["everywhere"])
    page = admin.get(f"{SETTINGS}/groups").text
    assert "no role" in page
    assert "nothing that you may see" not in page
    assert "It gives no role." in admin.get(f"{SETTINGS}/groups/empty").text
    assert "Nobody yet." in admin.get(f"{SETTINGS}/groups/empty").text
    listed = eve.get(f"{SETTINGS}/groups").text
    assert "nothing that you may see" in listed
    assert "no role" not in listed
    assert listed.count("not shown") == 2, "it may be in empty and everywhere"
    assert "It gives nothing that you may see." in eve.get(f"{SETTINGS}/groups/everywhere").text
    assert "You do not see who is in it" in eve.get(f"{SETTINGS}/groups/everywhere").text
    assert "Nobody that you may see." in eve.get(f"{SETTINGS}/groups/here").text


def test_deleting_a_group_says_what_is_known_of_its_members(
    app: Flask, admin: Caller, ada: str
) -> None:
    eve = join(app, admin, "eve@example.com", {**IN_DEFAULT, "role": "admin"})
    everywhere = {"role": "viewer", "project": None, "environment": None}
    for key, grants in (("everywhere", [everywhere]), ("here", [IN_DEFAULT])):
        admin.post_ok("/api/v1/groups", {"key": key, "grants": grants})
    none = admin.get(f"{SETTINGS}/groups/here/delete").text
    assert "It has no members, so nobody loses anything." in none
    unknown = eve.get(f"{SETTINGS}/groups/here/delete").text
    assert "You see no members of it." in unknown
    assert "nobody loses anything" not in unknown
    assert eve.get(f"{SETTINGS}/groups/everywhere/delete").status_code == 403
    send(admin, f"people/{ada}", do="groups", shown=["here"], group=["here"])
    some = admin.get(f"{SETTINGS}/groups/here/delete").text
    assert "Ada is in it. Take them out of it first." in some
    assert "solid-bad" not in some


def test_what_somebody_changed_meanwhile_is_not_deleted(admin: Caller) -> None:
    send(admin, "groups", key="on-call", role="viewer", where="default")
    asked = admin.get(f"{SETTINGS}/groups/on-call/delete").text
    send(admin, "groups/on-call", do="details", name="On call at night")
    refused = send(admin, "groups/on-call/delete", etag=etag_in(asked), reason="nobody is in it")
    assert refused.status_code == 412
    assert "Somebody changed it while you edited." in refused.text
    assert 'value="nobody is in it"' in refused.text
    assert read(admin, "groups/on-call")["name"] == "On call at night"
    again = send(admin, "groups/on-call/delete", etag=etag_in(refused.text))
    assert again.status_code == 303


def test_a_token_is_made_rotated_and_revoked(admin: Caller) -> None:
    made = send(
        admin,
        "tokens",
        **{"name": "ci", "role": "custom", "where": "default/production"},
        **{"permissions": ["read", "kill"], "networks": "10.0.0.0/8, 127.0.0.0/8"},
        **{"expires_in": "30d", "owner": "Payments"},
    )
    secret = shown_secret(made.text)
    assert secret.startswith("tg_custom_")
    id = secret.split("_")[2]
    token = read(admin, f"tokens/{id}")
    assert (token["permissions"], token["owner"]) == (["read", "kill"], "Payments")
    assert token["networks"] == ["10.0.0.0/8", "127.0.0.0/8"]
    user = Caller(admin.client, secret)
    assert user.get("/api/v1/me").status_code == 200
    rotated = send(admin, f"tokens/{id}", overlap="24h")
    assert shown_secret(rotated.text).startswith("tg_custom_")
    assert shown_secret(rotated.text) != secret
    assert user.get("/api/v1/me").status_code == 200
    asked = admin.get(f"{SETTINGS}/tokens/{id}/revoke").text
    assert "A revoked token never works again." in asked
    assert secret not in asked
    assert send(admin, f"tokens/{id}/revoke").status_code == 303
    assert admin.get(f"/api/v1/tokens/{id}").status_code == 404


@pytest.mark.parametrize("role", ["viewer", "responder", "developer", "release_manager"])
def test_who_administers_nothing_is_offered_nothing_and_refused(
    admin: Caller, ada: str, role: str
) -> None:
    reader = admin.token_for(role, "default", None)
    page = reader.get(f"{SETTINGS}/environments")
    assert page.status_code == 200
    for part in PARTS:
        assert f"{SETTINGS}/{part}" not in page.text
        assert reader.get(f"{SETTINGS}/{part}").status_code == 403
        assert send(reader, part, key="x", name="x", role="viewer").status_code in (403, 422)
    for forced in ("deactivate", "delete", "end-sessions", "withdraw?role=developer"):
        assert send(reader, f"people/{ada}/{forced}").status_code == 403
    assert read(admin, f"people/{ada}")["grants"] == [IN_DEFAULT]


def test_an_admin_of_a_project_is_offered_that_project_only(admin: Caller, ada: str) -> None:
    root = person_with(admin, "root@example.com", ADMIN, name="Root")
    local = admin.token_for("admin", "default", None)
    page = local.get(f"{SETTINGS}/people").text
    assert "all of default" in page
    assert 'value="*"' not in page
    hers, theirs = (local.get(f"{SETTINGS}/people/{each}").text for each in (ada, root))
    assert f"{ada}/deactivate" in hers
    assert f"{root}/deactivate" not in theirs
    assert "They may do what you may not" in theirs
    assert "New role" not in local.get(f"{SETTINGS}/roles").text
    refused = (
        send(local, f"people/{root}/deactivate"),
        send(local, f"people/{root}", do="invite"),
        send(local, f"people/{ada}", do="grant", role="admin", where="*"),
        send(local, "people", email="eve@example.com", role="viewer", where="*"),
        send(local, "roles", key="stopper", permissions=["kill"]),
        send(local, "tokens", name="mine", role="viewer", where="*"),
    )
    assert [each.status_code for each in refused] == [403] * len(refused)


@pytest.mark.parametrize(
    ("size", "script"), [(DESK, True), (PHONE, False)], ids=["desk", "phone without script"]
)
def test_an_admin_invites_promotes_and_deactivates(
    chromium: Browser, port: int, app: Flask, admin: Caller, size: dict[str, int], script: bool
) -> None:
    join(app, admin, "ada@example.com", ADMIN)
    with visit(chromium, port, size, java_script_enabled=script) as at:
        page = at.page
        at.sign_in("ada@example.com")
        at.go(f"{SETTINGS}/people")
        page.get_by_label("Email").fill("eve@example.com")
        page.get_by_label("Name", exact=False).last.fill("Eve")
        page.get_by_label("Role", exact=True).select_option("developer")
        page.get_by_label("Where", exact=True).select_option("default")
        page.get_by_role("button", name="Invite").click()
        expect(page.locator("#secret")).to_contain_text("/invitation#")
        at.check()
        page.get_by_role("link", name="Eve").click()
        page.get_by_label("Role", exact=True).select_option("responder")
        page.get_by_label("Where", exact=True).select_option("default/production")
        page.get_by_role("button", name="Give it").click()
        row = page.get_by_role("row").filter(has_text="responder")
        expect(row).to_contain_text("production of default")
        row.get_by_role("link", name="Withdraw…").click()
        page.get_by_role("button", name="Withdraw").click()
        expect(row).to_be_hidden()
        page.get_by_role("link", name="Deactivate…").click()
        expect(page.get_by_text("They are signed out everywhere")).to_be_visible()
        page.get_by_label("Why").fill("left the team")
        page.get_by_role("button", name="Deactivate").click()
        expect(page.get_by_text("“left the team”")).to_be_visible()
        page.get_by_role("button", name="Activate").click()
        expect(page.get_by_text("has no password yet")).to_be_visible()
