"""People, groups and roles: nobody gives or takes what they do not have themselves."""

from __future__ import annotations

from typing import Any

import pytest
from tidegate_server.domain.change import Address
from tidegate_server.domain.kinds import Kind
from tidegate_server.store import Store

from tests.http_calls import Caller, pointers, slug, stored_documents

PEOPLE = "/api/v1/people"
GROUPS = "/api/v1/groups"
ROLES = "/api/v1/roles"

ADMIN_GRANT = {"role": "admin", "project": None, "environment": None}
IN_DEFAULT = {"role": "viewer", "project": "default", "environment": None}


def person(caller: Caller, email: str, *grants: dict[str, Any], **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = caller.post_ok(PEOPLE, {"email": email, "grants": list(grants), **more})
    return made


def body_of(made: dict[str, Any]) -> dict[str, Any]:
    return {name: made[name] for name in ("email", "name", "active", "grants", "groups")}


def path_of(made: dict[str, Any]) -> str:
    return f"{PEOPLE}/{made['id']}"


def custom_token(admin: Caller, *permissions: str, project: str | None = None) -> Caller:
    token = {
        "name": "some",
        "role": "custom",
        "permissions": list(permissions),
        "project": project,
        "whole_server": project is None,
    }
    return Caller(admin.client, admin.post_ok("/api/v1/tokens", token)["secret"])


@pytest.fixture
def two_projects(admin: Caller) -> Caller:
    admin.post_ok("/api/v1/projects", {"key": "web"})
    return admin


def test_a_person_is_created_read_changed_and_deleted(admin: Caller, store: Store) -> None:
    made = person(admin, " Ada@Example.com ", IN_DEFAULT, name="Ada")
    assert made["email"] == "ada@example.com"
    assert (made["active"], made["has_password"], made["groups"]) == (True, False, [])
    path = path_of(made)
    assert admin.get(path).json == made
    changed = admin.put(path, {**body_of(made), "name": "Ada L."}, match='"1"').json
    assert changed is not None
    assert (changed["name"], changed["revision"]) == ("Ada L.", 2)
    listed = admin.get(PEOPLE).json
    assert listed is not None
    assert [each["id"] for each in listed["items"]] == [made["id"]]
    assert admin.delete(path, match='"2"').status_code == 204
    assert admin.get(path).status_code == 404
    assert store.all("", Kind.CREDENTIAL) == store.all("", Kind.EMAIL) == {}


def test_people_groups_and_roles_have_versions(admin: Caller) -> None:
    made = person(admin, "ada@example.com", name="Ada")
    path = path_of(made)
    admin.put(path, {**body_of(made), "name": "Someone"}, match='"1"')
    differences = admin.get(f"{path}/history/1/diff").json
    assert differences is not None
    assert [each["pointer"] for each in differences["changes"]] == ["/name"]
    restored = admin.call("POST", f"{path}/history/1/restore", match='"2"').json
    assert restored is not None
    assert restored["name"] == "Ada"
    assert admin.delete(path, match="*").status_code == 204
    again = admin.call("POST", f"{path}/history/3/restore").json
    assert again is not None
    assert (again["id"], again["name"]) == (made["id"], "Ada")
    for collection, body in (
        (GROUPS, {"key": "team"}),
        (ROLES, {"key": "killer", "permissions": ["kill"]}),
    ):
        admin.post_ok(collection, body)
        item = f"{collection}/{body['key']}"
        admin.put(item, {**body, "name": "New"}, match='"1"')
        back = admin.call("POST", f"{item}/history/1/restore", match='"2"').json
        assert back is not None
        assert back["name"] == ""


def test_the_audit_says_what_changed_and_from_where(admin: Caller) -> None:
    person(admin, "ada@example.com", IN_DEFAULT)
    log = admin.get("/api/v1/audit").json
    assert log is not None
    entry = log["items"][0]
    assert (entry["action"], entry["address"]) == ("person.create", "127.0.0.1")
    [document] = entry["documents"]
    assert document["kind"] == "person"
    assert "ada@example.com" in [each.get("after") for each in document["changes"]]


def test_the_audit_finds_a_person_by_email(admin: Caller) -> None:
    person(admin, "ada@example.com", IN_DEFAULT)
    person(admin, "bob@example.com", IN_DEFAULT)
    log = admin.get("/api/v1/audit?object=person&key=ada@example.com").json
    assert log is not None
    assert [each["details"]["email"] for each in log["items"]] == ["ada@example.com"]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"email": "ada"}, "/email"),
        ({"email": "a b@example.com"}, "/email"),
        ({"email": "BOB@example.com"}, "/email"),
        ({"grants": [{"role": "king"}]}, "/grants/0/role"),
        ({"grants": [{"role": "sdk", "project": "default"}]}, "/grants/0/role"),
        ({"grants": [{"role": "viewer", "project": "nope"}]}, "/grants/0/project"),
        (
            {"grants": [{"role": "viewer", "project": "default", "environment": "nope"}]},
            "/grants/0/environment",
        ),
        ({"grants": [{"role": "viewer", "environment": "production"}]}, "/grants/0/project"),
        ({"groups": ["nope"]}, "/groups/0"),
        ({"id": "mine"}, "/id"),
        ({"password": "secret"}, "/password"),
    ],
)
def test_an_invalid_person_is_refused(
    admin: Caller, store: Store, change: dict[str, Any], pointer: str
) -> None:
    person(admin, "bob@example.com")
    before = stored_documents(store)
    refused = admin.post(PEOPLE, {"email": "ada@example.com", **change})
    assert refused.status_code == 422, refused.text
    assert pointers(refused) == [pointer]
    assert stored_documents(store) == before


def test_an_email_is_free_again_when_its_owner_changes_it(admin: Caller) -> None:
    made = person(admin, "ada@example.com")
    body = {**body_of(made), "email": "lovelace@example.com"}
    assert admin.put(path_of(made), body, match='"1"').status_code == 200
    person(admin, "ada@example.com")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"key": "admin", "permissions": ["read"]}, "/key"),
        ({"key": "none", "permissions": []}, "/permissions"),
        ({"key": "app", "permissions": ["sdk"]}, "/permissions/0"),
        ({"key": "app", "permissions": ["fly"]}, "/permissions/0"),
    ],
)
def test_an_invalid_role_is_refused(admin: Caller, body: dict[str, Any], pointer: str) -> None:
    refused = admin.post(ROLES, body)
    assert refused.status_code == 422
    assert pointers(refused) == [pointer]


def test_a_role_or_group_in_use_cannot_be_deleted(admin: Caller) -> None:
    admin.post_ok(ROLES, {"key": "killer", "permissions": ["kill"]})
    admin.post_ok(GROUPS, {"key": "team", "grants": [{"role": "killer"}]})
    made = person(admin, "ada@example.com", groups=["team"])
    role = admin.delete(f"{ROLES}/killer", match="*")
    assert slug(role) == "not-possible"
    assert "group team" in role.text
    group = admin.delete(f"{GROUPS}/team", match="*")
    assert slug(group) == "not-possible"
    assert "ada@example.com" in group.text
    admin.put(path_of(made), {**body_of(made), "groups": []}, match="*")
    assert admin.delete(f"{GROUPS}/team", match="*").status_code == 204
    assert admin.delete(f"{ROLES}/killer", match="*").status_code == 204


def test_nobody_gives_a_person_or_group_more_than_they_have(admin: Caller, store: Store) -> None:
    keeper = custom_token(admin, "read", "administer")
    admin.post_ok(ROLES, {"key": "killer", "permissions": ["kill"]})
    admin.post_ok(GROUPS, {"key": "killers", "grants": [{"role": "killer"}]})
    bob = person(admin, "bob@example.com", {"role": "viewer"})
    before = stored_documents(store)
    tries = [
        keeper.post(PEOPLE, {"email": "eve@example.com", "grants": [ADMIN_GRANT]}),
        keeper.post(PEOPLE, {"email": "eve@example.com", "grants": [{"role": "killer"}]}),
        keeper.post(PEOPLE, {"email": "eve@example.com", "groups": ["killers"]}),
        keeper.put(path_of(bob), {**body_of(bob), "groups": ["killers"]}, match="*"),
        keeper.post(GROUPS, {"key": "kings", "grants": [ADMIN_GRANT]}),
        keeper.post(ROLES, {"key": "stopper", "permissions": ["kill"]}),
        keeper.put(f"{ROLES}/killer", {"permissions": ["read"]}, match="*"),
        keeper.delete(f"{ROLES}/killer", match="*"),
        keeper.delete(f"{GROUPS}/killers", match="*"),
    ]
    assert [slug(each) for each in tries] == ["forbidden"] * len(tries)
    assert "kill" in tries[1].text
    assert stored_documents(store) == before
    person(keeper, "eve@example.com", {"role": "viewer"})


def test_a_restored_version_gives_no_more_than_who_restores_it_has(
    admin: Caller, store: Store
) -> None:
    keeper = custom_token(admin, "read", "administer")
    admin.post_ok(ROLES, {"key": "helper", "permissions": ["read", "kill"]})
    admin.post_ok(GROUPS, {"key": "team", "grants": [ADMIN_GRANT]})
    bob = person(admin, "bob@example.com", ADMIN_GRANT, {"role": "helper"})
    person(admin, "root@example.com", ADMIN_GRANT)
    for path, less in (
        (path_of(bob), {**body_of(bob), "grants": [{"role": "helper"}]}),
        (f"{GROUPS}/team", {"grants": []}),
        (f"{ROLES}/helper", {"permissions": ["read"]}),
    ):
        assert admin.put(path, less, match="*").status_code == 200
    before = stored_documents(store)
    for path in (path_of(bob), f"{GROUPS}/team", f"{ROLES}/helper"):
        assert slug(keeper.post(f"{path}/history/1/restore", None, match="*")) == "forbidden", path
    assert stored_documents(store) == before


def test_nobody_takes_over_somebody_who_may_do_more(admin: Caller, store: Store) -> None:
    keeper = custom_token(admin, "read", "administer")
    person(admin, "root@example.com", ADMIN_GRANT)
    boss = person(admin, "boss@example.com", ADMIN_GRANT)
    before = stored_documents(store)
    changes: list[dict[str, Any]] = [
        {"email": "mine@example.com"},
        {"active": False},
        {"name": "Somebody"},
        {"grants": []},
    ]
    for change in changes:
        refused = keeper.put(path_of(boss), {**body_of(boss), **change}, match="*")
        assert slug(refused) == "forbidden", change
    assert slug(keeper.delete(path_of(boss), match="*")) == "forbidden"
    assert stored_documents(store) == before


def test_an_admin_of_a_project_grants_within_it_only(two_projects: Caller, store: Store) -> None:
    local = two_projects.token_for("admin", "default", None)
    made = person(local, "ada@example.com", IN_DEFAULT)
    before = stored_documents(store)
    for grants in (
        [ADMIN_GRANT],
        [{"role": "viewer"}],
        [IN_DEFAULT, {"role": "viewer", "project": "web"}],
    ):
        refused = local.put(path_of(made), {**body_of(made), "grants": grants}, match="*")
        assert slug(refused) == "forbidden", grants
    assert slug(local.post(PEOPLE, {"email": "eve@example.com"})) == "forbidden"
    assert slug(local.post(GROUPS, {"key": "empty"})) == "forbidden"
    assert slug(local.post(ROLES, {"key": "reader2", "permissions": ["read"]})) == "forbidden"
    assert stored_documents(store) == before


def test_an_admin_of_an_environment_does_not_grant_in_the_whole_project(admin: Caller) -> None:
    local = admin.token_for("admin", "default", "production")
    here = {**IN_DEFAULT, "environment": "production"}
    assert slug(local.post(PEOPLE, {"email": "eve@example.com", "grants": [IN_DEFAULT]})) == (
        "forbidden"
    )
    person(local, "eve@example.com", here)


def test_an_admin_of_a_project_neither_sees_nor_changes_grants_elsewhere(
    two_projects: Caller, store: Store
) -> None:
    elsewhere = {"role": "developer", "project": "web", "environment": None}
    two_projects.post_ok(GROUPS, {"key": "webbers", "grants": [elsewhere]})
    made = person(two_projects, "ada@example.com", IN_DEFAULT, elsewhere, groups=["webbers"])
    local = two_projects.token_for("admin", "default", None)
    seen = local.get(path_of(made)).json
    assert seen is not None
    assert (seen["grants"], seen["groups"]) == ([IN_DEFAULT], [])
    version = local.get(f"{path_of(made)}/history/1").json
    assert version is not None
    assert version["document"]["grants"] == [IN_DEFAULT]
    changed = {**body_of(seen), "grants": [{**IN_DEFAULT, "role": "developer"}]}
    assert local.put(path_of(made), changed, match="*").status_code == 200
    stored = store.get("", Address(Kind.PERSON, made["id"]))
    assert stored is not None
    kept = {(grant.role, grant.project) for grant in stored.document.grants}
    assert kept == {("developer", "default"), ("developer", "web")}
    assert stored.document.groups == ("webbers",)
    assert slug(local.put(path_of(made), {**changed, "active": False}, match="*")) == "forbidden"
    assert slug(local.delete(path_of(made), match="*")) == "forbidden"


def test_the_last_active_admin_cannot_be_removed_or_locked_out(admin: Caller, store: Store) -> None:
    admin.post_ok(ROLES, {"key": "root", "permissions": ["read", "administer"]})
    admin.post_ok(GROUPS, {"key": "admins", "grants": [{"role": "root"}]})
    ada = person(admin, "ada@example.com", groups=["admins"])
    before = stored_documents(store)
    tries = [
        admin.put(path_of(ada), {**body_of(ada), "active": False}, match="*"),
        admin.put(path_of(ada), {**body_of(ada), "groups": []}, match="*"),
        admin.delete(path_of(ada), match="*"),
        admin.put(f"{GROUPS}/admins", {"grants": []}, match="*"),
        admin.put(f"{ROLES}/root", {"permissions": ["read"]}, match="*"),
    ]
    assert [slug(each) for each in tries] == ["not-possible"] * len(tries)
    assert stored_documents(store) == before
    person(admin, "bob@example.com", ADMIN_GRANT)
    assert admin.delete(path_of(ada), match="*").status_code == 204


def test_an_answer_says_whether_its_reader_may_manage_it(two_projects: Caller) -> None:
    two_projects.post_ok(GROUPS, {"key": "webbers", "grants": [{**IN_DEFAULT, "project": "web"}]})
    two_projects.post_ok(GROUPS, {"key": "readers", "grants": [IN_DEFAULT]})
    here = person(two_projects, "here@example.com", IN_DEFAULT, groups=["readers"])
    both = person(two_projects, "both@example.com", IN_DEFAULT, groups=["webbers"])
    local = two_projects.token_for("admin", "default", None)

    def manageable(reader: Caller, path: str) -> bool:
        answer = reader.get(path).json
        assert answer is not None
        return bool(answer["manageable"])

    paths = (path_of(here), path_of(both), f"{GROUPS}/readers", f"{GROUPS}/webbers")
    assert [manageable(two_projects, path) for path in paths] == [True, True, True, True]
    assert [manageable(local, path) for path in paths] == [True, False, True, False]
