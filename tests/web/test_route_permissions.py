"""Every role on every route: allowed exactly where the route's permission is in the role."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from flask import Flask
from tidegate_server.domain.people import PEOPLES_ROLES
from tidegate_server.domain.permissions import PERMISSIONS, Permission, Role

from tests.http_calls import CHECKOUT, PRODUCTION, PROJECT, Caller, slug
from tests.people import join

SCOPES = {
    "server": (None, None),
    "project": ("default", None),
    "environment": ("default", "production"),
}

KEYS = {
    "project": "default",
    "environment": "production",
    "flag": "checkout",
    "revision": "1",
    "version": "1",
}
"""Other parts of a path name what does not exist."""

NEEDED = {
    "kill_flag": Permission.KILL,
    "restore_flag": Permission.KILL,
    "pause_release": Permission.KILL,
    "rollback_release": Permission.KILL,
    "resume_release": Permission.RELEASE,
    "advance_release": Permission.RELEASE,
    "complete_release": Permission.RELEASE,
    "begin_release": Permission.RELEASE,
    "retry_release": Permission.RELEASE,
    "start_release": Permission.RELEASE,
    "approve_release": Permission.APPROVE,
    "replace_targeting": Permission.WRITE,
    "create_flag": Permission.WRITE,
    "replace_policy": Permission.WRITE,
    "create_token": Permission.ADMINISTER,
    "rotate_token": Permission.ADMINISTER,
    "create_environment": Permission.ADMINISTER,
    "get_snapshot": Permission.SDK,
    "create_person": Permission.ADMINISTER,
    "invite_person": Permission.ADMINISTER,
    "replace_group": Permission.ADMINISTER,
    "restore_role_version": Permission.ADMINISTER,
    "create_identity_provider": Permission.ADMINISTER,
    "list_identity_providers": Permission.ADMINISTER,
    "set_client_secret": Permission.ADMINISTER,
    "unlink_identity": Permission.ADMINISTER,
}


def routes_with_permission(app: Flask) -> Iterator[tuple[str, str, str, Permission]]:
    """Yield endpoint, method, path and permission of each route; path parts that do not exist."""
    for rule in app.url_map.iter_rules():
        permission = getattr(app.view_functions[rule.endpoint], "permission", None)
        if permission is None:
            continue
        path = re.sub(r"<(?:\w+:)?(\w+)>", lambda part: KEYS.get(part[1], "missing"), rule.rule)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield rule.endpoint, method, path, permission


def test_the_permissions_of_the_routes_that_matter_most(app: Flask) -> None:
    found = {
        endpoint.rpartition(".")[2]: permission
        for endpoint, _, _, permission in routes_with_permission(app)
    }
    assert {name: found[name] for name in NEEDED} == NEEDED


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("role", [role for role in Role if role is not Role.CUSTOM])
def test_each_role_may_call_exactly_the_routes_of_its_permissions(
    app: Flask, checkout: Caller, role: Role, scope: str
) -> None:
    project, environment = SCOPES[scope]
    if PERMISSIONS[role] & {Permission.SDK, Permission.EVALUATE}:
        project, environment = "default", "production"
    caller = checkout.token_for(role.value, project, environment)
    for endpoint, method, path, permission in routes_with_permission(app):
        if "stream" in endpoint or endpoint.startswith("ofrep."):
            continue  # tests of their own: they stay open, or take no bearer token
        answer = caller.call(method, path, {} if method in ("POST", "PUT") else None, match='"0"')
        refused = answer.status_code == 403
        if permission not in PERMISSIONS[role]:
            assert refused, (endpoint, method, answer.status_code)
        elif project is None or "/environments/production" in path:
            assert not refused, (endpoint, method, answer.text)


@pytest.mark.parametrize("scope", ["project", "environment"])
@pytest.mark.parametrize("role", [*PEOPLES_ROLES, "killer"])
def test_each_person_may_call_exactly_what_their_grants_allow(
    app: Flask, checkout: Caller, role: str, scope: str
) -> None:
    checkout.post_ok("/api/v1/roles", {"key": "killer", "permissions": ["read", "kill"]})
    checkout.post_ok("/api/v1/projects", {"key": "web"})
    checkout.post_ok("/api/v1/projects/web/environments", {"key": "production"})
    project, environment = SCOPES[scope]
    grant = {"role": role, "project": project, "environment": environment}
    person = join(app, checkout, "ada@example.com", grant)
    permissions = (
        {Permission.READ, Permission.KILL} if role == "killer" else PERMISSIONS[Role(role)]
    )
    for endpoint, method, path, permission in routes_with_permission(app):
        if "stream" in endpoint or endpoint.startswith(("ofrep.", "sdk.")):
            continue  # for applications, which have tokens
        body: dict[str, str] | None = {} if method in ("POST", "PUT") else None
        answer = person.call(method, path, body, match='"0"')
        if permission not in permissions:
            assert slug(answer) == "forbidden", (endpoint, method, answer.text)
        elif PRODUCTION in path or (scope == "project" and PROJECT in path):
            assert answer.status_code not in (401, 403), (endpoint, method, answer.text)
        if PROJECT in path:
            elsewhere = path.replace(PROJECT, "/api/v1/projects/web")
            answer = person.call(method, elsewhere, body, match='"0"')
            assert slug(answer) == "forbidden", (endpoint, method, answer.text)
        if PRODUCTION in path and scope == "environment":
            sibling = path.replace(PRODUCTION, f"{PROJECT}/environments/development")
            answer = person.call(method, sibling, body, match='"0"')
            assert slug(answer) == "forbidden", (endpoint, method, answer.text)


def test_a_person_without_grants_may_only_see_their_own_account(
    app: Flask, checkout: Caller
) -> None:
    checkout.post_ok("/api/v1/people", {"email": "boss@example.com", "grants": [{"role": "admin"}]})
    nobody = join(app, checkout, "nobody@example.com")
    assert nobody.get("/api/v1/me").status_code == 200
    for endpoint, method, path, _ in routes_with_permission(app):
        if "stream" in endpoint or endpoint.startswith(("ofrep.", "sdk.")):
            continue
        body: dict[str, str] | None = {} if method in ("POST", "PUT") else None
        answer = nobody.call(method, path, body, match='"0"')
        assert slug(answer) == "forbidden", (endpoint, method, answer.text)


def test_no_route_for_people_answers_a_stranger(app: Flask, checkout: Caller) -> None:
    stranger = Caller(app.test_client(), None)
    found = 0
    for rule in app.url_map.iter_rules():
        if getattr(app.view_functions[rule.endpoint], "who", None) is None:
            continue
        path = re.sub(r"<(?:\w+:)?(\w+)>", "missing", rule.rule)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            found += 1
            assert slug(stranger.call(method, path, {})) == "unauthenticated", (method, path)
    assert found >= 12


def test_no_role_reaches_another_project_or_environment(app: Flask, checkout: Caller) -> None:
    checkout.post_ok("/api/v1/projects", {"key": "web"})
    checkout.post_ok("/api/v1/projects/web/environments", {"key": "live"})
    checkout.post_ok("/api/v1/projects/web/flags", CHECKOUT)
    local = checkout.token_for("admin", "default", "production")
    for endpoint, method, path, permission in routes_with_permission(app):
        if permission in (Permission.SDK, Permission.EVALUATE) or PROJECT not in path:
            continue
        body: dict[str, str] | None = {} if method in ("POST", "PUT") else None
        elsewhere = path.replace(PROJECT, "/api/v1/projects/web")
        answer = local.call(method, elsewhere, body, match='"0"')
        assert slug(answer) == "forbidden", (endpoint, method, answer.text)
        if PRODUCTION in path:
            sibling = path.replace(PRODUCTION, f"{PROJECT}/environments/development")
            answer = local.call(method, sibling, body, match='"0"')
            assert slug(answer) == "forbidden", (endpoint, method, answer.text)
