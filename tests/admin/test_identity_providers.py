"""The settings of identity providers: who changes them, and what they may say."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from tidegate_server.domain.change import Address
from tidegate_server.domain.kinds import Kind
from tidegate_server.store import Store
from tidegate_server.web.client_secrets import client_secret

from tests.admin.test_people import custom_token
from tests.http_application import SECRET_KEY
from tests.http_calls import Caller, pointers, raw_contents, slug, stored_documents

PROVIDERS = "/api/v1/identity-providers"
OKTA = f"{PROVIDERS}/okta"
SECRET = "a secret that okta gave us"

PROVIDER: dict[str, Any] = {
    "key": "okta",
    "name": "Okta",
    "issuer": "https://example.okta.com",
    "client_id": "0oa1b2c3",
    "email_domains": ["Example.com"],
    "group_mappings": [
        {"provider_group": "Everyone", "grants": [{"role": "viewer", "project": "default"}]}
    ],
}


@pytest.fixture
def okta(admin: Caller) -> Caller:
    """Return the admin of a server with an identity provider."""
    admin.post_ok(PROVIDERS, PROVIDER)
    return admin


def audit(admin: Caller) -> list[Any]:
    log = admin.get("/api/v1/audit").json
    assert log is not None
    items: list[Any] = log["items"]
    return items


def test_a_provider_says_what_to_register_there(okta: Caller) -> None:
    shown = okta.get(OKTA).json
    assert shown is not None
    assert shown["email_domains"] == ["example.com"]
    assert shown["scopes"] == ["openid", "email", "profile"]
    assert (shown["require_verified_email"], shown["create_people"]) == (True, False)
    assert shown["redirect_uri"] == "http://localhost/sign-in/with/okta/callback"
    assert shown["backchannel_logout_uri"] == "http://localhost/api/v1/sign-in/with/okta/sign-out"
    assert shown["has_client_secret"] is False


def test_a_provider_is_changed_restored_and_deleted(okta: Caller) -> None:
    assert okta.put(OKTA, {**PROVIDER, "name": "Okta 2"}, match='"1"').status_code == 200
    restored = okta.call("POST", f"{OKTA}/history/1/restore", match='"2"').json
    assert restored is not None
    assert restored["name"] == "Okta"
    assert "identity_provider.edit" in [each["action"] for each in audit(okta)]
    assert okta.delete(OKTA, match="*").status_code == 204
    again = okta.call("POST", f"{OKTA}/history/3/restore")
    assert slug(again) == "not-possible"
    assert "identity provider 'okta' was deleted" in again.text


def test_nothing_shows_the_client_secret(okta: Caller, store: Store, raw: redis.Redis) -> None:
    set_secret = okta.put(f"{OKTA}/client-secret", {"client_secret": SECRET})
    assert set_secret.status_code == 204
    shown = okta.get(OKTA)
    assert shown.json is not None
    assert shown.json["has_client_secret"] is True
    edited = okta.put(OKTA, {**PROVIDER, "name": "Okta 2"}, match="*")
    texts = [shown.text, edited.text, okta.get(f"{OKTA}/history").text, okta.get(OKTA).text]
    texts += [okta.get(f"{OKTA}/history/{each}").text for each in (1, 2, 3)]
    texts += [okta.get("/api/v1/audit").text, raw_contents(raw)]
    assert not any(SECRET in each for each in texts)
    stored = store.get("", Address(Kind.IDENTITY_PROVIDER, "okta"))
    assert stored is not None
    assert client_secret(SECRET_KEY, stored.document) == SECRET
    assert client_secret(b"another secret key", stored.document) == ""
    assert okta.delete(f"{OKTA}/client-secret").status_code == 204
    actions = [each["action"] for each in audit(okta)]
    assert actions[0] == "identity_provider.delete_secret"
    assert "identity_provider.set_secret" in actions


def test_the_secret_of_one_provider_does_not_work_for_another(okta: Caller, store: Store) -> None:
    okta.put(f"{OKTA}/client-secret", {"client_secret": SECRET})
    okta.post_ok(PROVIDERS, {**PROVIDER, "key": "other", "issuer": "https://other.example.com"})
    one, other = store.get_many(
        "", [Address(Kind.IDENTITY_PROVIDER, key) for key in ("okta", "other")]
    )
    assert one is not None
    assert other is not None
    object.__setattr__(other.document, "sealed_client_secret", one.document.sealed_client_secret)
    assert client_secret(SECRET_KEY, other.document) == ""


def test_no_change_request_keeps_a_client_secret(okta: Caller) -> None:
    proposed = okta.call(
        "PUT",
        f"{OKTA}/client-secret",
        {"client_secret": SECRET},
        headers={"Tidegate-Propose": "because"},
    )
    assert slug(proposed) == "invalid"
    assert "cannot be planned" in proposed.text


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"issuer": "http://okta.example.com"}, "/issuer"),
        ({"issuer": "okta.example.com"}, "/issuer"),
        ({"issuer": "https://me:pass@okta.example.com"}, "/issuer"),
        ({"issuer": "https://okta.example.com/?a=1"}, "/issuer"),
        ({"issuer": "https://okta.example.com/#a"}, "/issuer"),
        ({"issuer": "https://10.0.0.7"}, "/issuer"),
        ({"issuer": "https://localhost"}, "/issuer"),
        ({"issuer": "https://169.254.169.254/latest"}, "/issuer"),
        ({"scopes": ["email"]}, "/scopes"),
        ({"email_domains": ["ada@example.com"]}, "/email_domains/0"),
        ({"email_domains": [], "create_people": True}, "/email_domains"),
        ({"client_secret": SECRET}, "/client_secret"),
        (
            {"group_mappings": [{"provider_group": "a", "grants": [{"role": "king"}]}]},
            "/group_mappings/0/grants/0/role",
        ),
        (
            {
                "group_mappings": [
                    {"provider_group": "a", "grants": [{"role": "viewer", "project": "nope"}]}
                ]
            },
            "/group_mappings/0/grants/0/project",
        ),
        (
            {"group_mappings": [{"provider_group": "a", "groups": ["nope"]}]},
            "/group_mappings/0/groups/0",
        ),
        ({"group_mappings": [{"provider_group": "a"}]}, "/group_mappings/0"),
    ],
)
def test_an_invalid_provider_is_refused(
    admin: Caller, store: Store, change: dict[str, Any], pointer: str
) -> None:
    before = stored_documents(store)
    refused = admin.post(PROVIDERS, {**PROVIDER, **change})
    assert refused.status_code == 422, refused.text
    assert pointers(refused) == [pointer]
    assert stored_documents(store) == before


def test_an_issuer_has_one_provider(okta: Caller) -> None:
    refused = okta.post(PROVIDERS, {**PROVIDER, "key": "again"})
    assert pointers(refused) == ["/issuer"]


def test_only_who_has_everything_changes_how_people_sign_in(okta: Caller, store: Store) -> None:
    keepers = [
        custom_token(okta, "read", "administer"),
        custom_token(okta, "read", "write", "release", "approve", "kill", "administer"),
        okta.token_for("admin", "default", None),
        okta.token_for("release_manager", None, None),
    ]
    before = stored_documents(store)
    for keeper in keepers:
        tries = [
            keeper.post(PROVIDERS, {**PROVIDER, "key": "b", "issuer": "https://b.example.com"}),
            keeper.put(OKTA, {**PROVIDER, "issuer": "https://mine.example.com"}, match="*"),
            keeper.put(f"{OKTA}/client-secret", {"client_secret": "mine"}),
            keeper.delete(f"{OKTA}/client-secret"),
            keeper.delete(OKTA, match="*"),
        ]
        assert [slug(each) for each in tries] == ["forbidden"] * len(tries)
    assert stored_documents(store) == before


def test_a_group_or_role_that_a_mapping_gives_cannot_be_deleted(admin: Caller) -> None:
    admin.post_ok("/api/v1/roles", {"key": "killer", "permissions": ["kill"]})
    admin.post_ok("/api/v1/groups", {"key": "team"})
    mapping = {"provider_group": "a", "groups": ["team"], "grants": [{"role": "killer"}]}
    admin.post_ok(PROVIDERS, {**PROVIDER, "group_mappings": [mapping]})
    for path in ("/api/v1/roles/killer", "/api/v1/groups/team"):
        refused = admin.delete(path, match="*")
        assert slug(refused) == "not-possible"
        assert "the identity provider okta" in refused.text


def test_a_protected_environment_lets_others_approve_who_may_sign_in(okta: Caller) -> None:
    environment = okta.get("/api/v1/projects/default/environments/production").json
    assert environment is not None
    fields = {
        name: value
        for name, value in environment.items()
        if name not in ("revision", "updated_at", "has_context_key", "old_context_key_until")
    }
    protected = okta.put(
        "/api/v1/projects/default/environments/production",
        {**fields, "required_approvals": 1},
        match="*",
    )
    assert protected.status_code == 200, protected.text
    gives = {"provider_group": "b", "grants": [{"role": "developer", "project": "default"}]}
    guarded: list[dict[str, Any]] = [
        {"issuer": "https://mine.example.com"},
        {"email_domains": ["example.org"]},
        {"create_people": True},
        {"groups_claim": "roles"},
        {"group_mappings": [*PROVIDER["group_mappings"], gives]},
    ]
    for change in guarded:
        refused = okta.put(OKTA, {**PROVIDER, **change}, match="*")
        assert slug(refused) == "approval-required", change
    free: list[dict[str, Any]] = [
        {"name": "New"},
        {"enabled": False},
        {"enabled": False, "group_mappings": []},
    ]
    for change in free:
        assert okta.put(OKTA, {**PROVIDER, **change}, match="*").status_code == 200, change
    assert slug(okta.put(OKTA, PROVIDER, match="*")) == "approval-required"
    assert okta.put(f"{OKTA}/client-secret", {"client_secret": SECRET}).status_code == 204


def test_a_provider_that_is_not_reached_tells_nothing_of_the_network(admin: Caller) -> None:
    admin.post_ok(PROVIDERS, {**PROVIDER, "issuer": "https://nobody.invalid"})
    tried = admin.post_ok(f"{OKTA}/test", {})
    assert not tried["works"]
    assert tried["problem"].endswith(": no answer in 5 s; the server's log says more")
