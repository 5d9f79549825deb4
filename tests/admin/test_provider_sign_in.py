"""Sign in with an identity provider, from the button to the session, and every way to cheat."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pyotp
import pytest
import redis
import urllib3
from flask import Flask
from flask.testing import FlaskClient
from joserfc.jwk import ECKey, RSAKey
from tidegate_server.web.settings import ApiSettings
from werkzeug.test import TestResponse

from tests.http_calls import Caller, raw_contents
from tests.openid_provider import (
    CLIENT_ID,
    CLIENT_SECRET,
    Claims,
    OpenIdProvider,
    new_rsa_key,
    running_provider,
)
from tests.people import PASSWORD, invited, join
from tests.people import sign_in as password_sign_in
from tests.receiver import LOOPBACK

PROVIDERS = "/api/v1/identity-providers"
MAPPINGS = [
    {
        "provider_group": "devs",
        "groups": ["team"],
        "grants": [{"role": "developer", "project": "default"}],
    },
    {"provider_group": "ops", "grants": [{"role": "responder"}]},
]


@pytest.fixture
def settings(settings: ApiSettings) -> ApiSettings:
    return replace(settings, identity_provider_networks=LOOPBACK)


@pytest.fixture(scope="module")
def rsa() -> RSAKey:
    return new_rsa_key("key-1")


@pytest.fixture(scope="module")
def other_rsa() -> RSAKey:
    return new_rsa_key("key-2")


@pytest.fixture
def okta(rsa: RSAKey) -> Iterator[OpenIdProvider]:
    """A running provider that nobody knows yet."""
    with running_provider(rsa) as provider:
        yield provider


def connect(admin: Caller, provider: OpenIdProvider, key: str = "okta", **more: Any) -> None:
    """Make a provider known, with its secret."""
    body = {
        "key": key,
        "name": key.title(),
        "issuer": provider.issuer,
        "client_id": CLIENT_ID,
        "email_domains": ["example.com"],
        "create_people": True,
        **more,
    }
    admin.post_ok(PROVIDERS, body)
    secret = {"client_secret": CLIENT_SECRET}
    assert admin.put(f"{PROVIDERS}/{key}/client-secret", secret).status_code == 204


@pytest.fixture
def connected(admin: Caller, okta: OpenIdProvider) -> Caller:
    """The admin of a server with the provider, which creates people and maps groups."""
    admin.post_ok("/api/v1/groups", {"key": "team", "grants": [{"role": "viewer"}]})
    connect(admin, okta, group_mappings=MAPPINGS)
    return admin


@dataclass(frozen=True)
class Visitor:
    """A browser with its own cookies."""

    client: FlaskClient

    def begin(self, key: str = "okta", next: str = "") -> str:
        """Press the button; return where the browser is sent."""
        answer = self.client.get(f"/sign-in/with/{key}?next={next}")
        assert answer.status_code == 303, answer.text
        return answer.location

    def come_back(self, address: str) -> TestResponse:
        """Open the address to which the provider sends the browser."""
        parts = urlsplit(address)
        return self.client.get(f"{parts.path}?{parts.query}", base_url=f"http://{parts.netloc}")

    def sign_in(self, key: str = "okta", next: str = "") -> TestResponse:
        """Sign in at the provider, and come back."""
        return self.come_back(at_provider(self.begin(key, next)))

    def accept_with(self, link: str, key: str = "okta") -> str:
        """Accept an invitation with a provider; return where the browser is sent."""
        form = {"invitation": link, "provider": key}
        answer = self.client.post("/invitation", data=form)
        assert answer.status_code == 200, answer.text
        return answer.headers["Refresh"].removeprefix("0; url=")

    def me(self) -> Any:
        """Return who is signed in; None: nobody."""
        answer = self.client.get("/api/v1/me")
        return answer.json if answer.status_code == 200 else None


def at_provider(address: str) -> str:
    """Sign in at a provider; return where it sends the browser back to."""
    answer = urllib3.request("GET", address, redirect=False)
    assert answer.status == 302
    return answer.headers["Location"]


@pytest.fixture
def visitor(app: Flask) -> Visitor:
    return Visitor(app.test_client())


def refusal(answer: TestResponse) -> str:
    """Return what the sign-in page says about a sign-in that came to nothing."""
    assert answer.status_code in (401, 429), answer.text
    assert "Sign in with Okta" in answer.text, "one may try again at once"
    return answer.text


def grants_of(me: Any) -> set[tuple[str, str | None]]:
    return {(each["role"], each["project"]) for each in me["grants"]}


def audit(admin: Caller) -> list[Any]:
    log = admin.get("/api/v1/audit").json
    assert log is not None
    items: list[Any] = log["items"]
    return items


def person_named(admin: Caller, email: str) -> Any:
    people = admin.get("/api/v1/people").json
    assert people is not None
    return next((each for each in people["items"] if each["email"] == email), None)


def test_the_sign_in_page_has_a_button_for_each_provider(
    connected: Caller, okta: OpenIdProvider, visitor: Visitor
) -> None:
    page = visitor.client.get("/sign-in?next=/p/default/e/production/flags").text
    assert "Sign in with Okta" in page
    assert "/sign-in/with/okta?next=/p/default/e/production/flags" in page
    connected.put(
        f"{PROVIDERS}/okta",
        {"issuer": okta.issuer, "client_id": CLIENT_ID, "enabled": False},
        match="*",
    )
    assert "/sign-in/with/okta" not in visitor.client.get("/sign-in").text
    assert visitor.client.get("/sign-in/with/okta").status_code == 401


def test_somebody_new_is_created_and_signed_in(connected: Caller, visitor: Visitor) -> None:
    answer = visitor.sign_in(next="/p/default/e/production/flags")
    assert answer.status_code == 303, answer.text
    assert answer.location == "/p/default/e/production/flags"
    me = visitor.me()
    assert me["name"] == "Ada Lovelace (ada@example.com)"
    assert grants_of(me) == {("viewer", None), ("developer", "default")}
    person = person_named(connected, "ada@example.com")
    assert (person["grants"], person["groups"]) == ([], [])
    assert [each["groups"] for each in person["provided"]] == [["devs"]]
    assert [each["subject"] for each in person["identities"]] == ["00u-ada"]
    signed_in, joined = audit(connected)[:2]
    assert (joined["action"], joined["details"]["provider"]) == ("person.join", "okta")
    assert (signed_in["action"], signed_in["details"]["provider"]) == ("person.sign_in", "okta")
    [session] = visitor.client.get("/api/v1/sessions").get_json()["items"]
    assert (session["method"], session["provider"]) == ("identity_provider", "okta")


def test_a_second_sign_in_is_the_same_person_even_with_another_email(
    connected: Caller, okta: OpenIdProvider, visitor: Visitor
) -> None:
    visitor.sign_in()
    first = visitor.me()["person"]["id"]
    old = visitor.client.get_cookie("tidegate-http")
    okta.user["email"] = "lovelace@example.com"
    visitor.sign_in()
    assert visitor.me()["person"] == {
        **visitor.me()["person"], "id": first, "email": "ada@example.com"
    }  # fmt: skip
    new = visitor.client.get_cookie("tidegate-http")
    assert old is not None
    assert new is not None
    assert old.value != new.value


def test_who_leaves_a_group_loses_its_roles_at_the_next_sign_in(
    connected: Caller, okta: OpenIdProvider, visitor: Visitor
) -> None:
    visitor.sign_in()
    made = person_named(connected, "ada@example.com")
    by_hand = {"role": "viewer", "project": "default", "environment": None}
    body = {name: made[name] for name in ("email", "name", "active", "groups")}
    granted = connected.put(
        f"/api/v1/people/{made['id']}", {**body, "grants": [by_hand]}, match="*"
    )
    assert granted.status_code == 200, granted.text
    okta.user["groups"] = ["ops", "unknown"]
    visitor.sign_in()
    assert grants_of(visitor.me()) == {("viewer", "default"), ("responder", None)}
    okta.user["groups"] = []
    visitor.sign_in()
    assert grants_of(visitor.me()) == {("viewer", "default")}
    assert person_named(connected, "ada@example.com")["provided"] == []


def test_a_mapping_that_is_taken_away_takes_its_roles_at_once(
    connected: Caller, okta: OpenIdProvider, visitor: Visitor
) -> None:
    visitor.sign_in()
    body = {"issuer": okta.issuer, "client_id": CLIENT_ID, "email_domains": ["example.com"]}
    changed = connected.put(f"{PROVIDERS}/okta", body, match="*")
    assert changed.status_code == 200, changed.text
    assert grants_of(visitor.me()) == set()


def test_disabling_or_deleting_a_provider_ends_its_sessions(
    connected: Caller, okta: OpenIdProvider, visitor: Visitor
) -> None:
    body = {
        "issuer": okta.issuer, "client_id": CLIENT_ID, "email_domains": ["example.com"],
        "create_people": True,
    }  # fmt: skip
    visitor.sign_in()
    connected.put(f"{PROVIDERS}/okta", {**body, "enabled": False}, match="*")
    assert visitor.me() is None
    connected.put(f"{PROVIDERS}/okta", body, match="*")
    assert visitor.me() is None
    visitor.sign_in()
    assert visitor.me() is not None
    connected.delete(f"{PROVIDERS}/okta", match="*")
    connected.post_ok(PROVIDERS, {"key": "okta", **body})
    assert visitor.me() is None


# Which account


def test_an_invited_person_is_known_by_a_verified_email(
    connected: Caller, okta: OpenIdProvider, visitor: Visitor
) -> None:
    link = invited(connected, "ada@example.com", {"role": "developer"})
    assert visitor.sign_in().status_code == 303
    assert ("developer", None) in grants_of(visitor.me())
    accept = {"invitation": link, "name": "Eve", "password": PASSWORD}
    late = visitor.client.post("/api/v1/invitations/accept", json=accept)
    assert late.status_code == 422, "the invitation was used"


@pytest.mark.parametrize(
    ("claims", "stated"),
    [
        ({"email_verified": False}, {}),
        ({"email_verified": None}, {}),
        ({"email_verified": "yes"}, {}),
        ({"email_verified": False}, {"require_verified_email": False}),
        ({}, {"email_domains": ["example.org"]}),
        ({}, {"email_domains": [], "create_people": False}),
    ],
)
def test_nobody_becomes_an_invited_person_by_an_email_alone(
    admin: Caller, okta: OpenIdProvider, visitor: Visitor, claims: Claims, stated: Claims
) -> None:
    connect(admin, okta, **stated)
    invited(admin, "ada@example.com", {"role": "admin"})
    okta.user.update(claims)
    assert "does not sign in with this account" in refusal(visitor.sign_in())
    assert visitor.me() is None
    assert person_named(admin, "ada@example.com")["identities"] == []


def test_a_verified_email_does_not_take_over_an_account_with_a_password(
    app: Flask, connected: Caller, visitor: Visitor
) -> None:
    join(app, connected, "ada@example.com", {"role": "admin"})
    assert "does not sign in with this account" in refusal(visitor.sign_in())
    assert visitor.me() is None
    assert password_sign_in(app, "ada@example.com").status_code == 200


def test_a_second_subject_with_the_same_email_is_not_the_same_person(
    connected: Caller, okta: OpenIdProvider, visitor: Visitor
) -> None:
    visitor.sign_in()
    okta.user["sub"] = "somebody-else"
    assert "does not sign in with this account" in refusal(visitor.sign_in())


@pytest.mark.parametrize(
    ("claims", "stated", "says"),
    [
        ({}, {"create_people": False}, "Ask an admin to invite you"),
        ({"email": "ada@example.org"}, {}, "Ask an admin to invite you"),
        ({"email": "ada@sub.example.com"}, {}, "Ask an admin to invite you"),
        ({"email_verified": False}, {}, "has not verified the email"),
        ({"email": ""}, {}, "does not say your email"),
        ({"email": "ada"}, {}, "does not say your email"),
        ({"email": ["ada@example.com"]}, {}, "does not say your email"),
        ({"email": "a\u200bda@example.com"}, {}, "does not say your email"),
    ],
)
def test_who_may_not_join_is_told_why(
    admin: Caller,
    okta: OpenIdProvider,
    visitor: Visitor,
    claims: Claims,
    stated: Claims,
    says: str,
) -> None:
    connect(admin, okta, **stated)
    okta.user.update(claims)
    assert says in refusal(visitor.sign_in())
    assert visitor.me() is None


def test_an_admin_may_trust_the_emails_of_a_provider_for_new_people(
    admin: Caller, okta: OpenIdProvider, visitor: Visitor
) -> None:
    connect(admin, okta, require_verified_email=False)
    del okta.user["email_verified"]
    assert visitor.sign_in().status_code == 303


def test_somebody_who_is_not_active_stays_out(connected: Caller, visitor: Visitor) -> None:
    visitor.sign_in()
    made = person_named(connected, "ada@example.com")
    body = {"email": made["email"], "active": False}
    assert connected.put(f"/api/v1/people/{made['id']}", body, match="*").status_code == 200
    assert "not active any more" in refusal(visitor.sign_in())
    assert visitor.me() is None


def test_a_deleted_person_leaves_no_identity_behind(connected: Caller, visitor: Visitor) -> None:
    visitor.sign_in()
    first = person_named(connected, "ada@example.com")
    connected.delete(f"/api/v1/people/{first['id']}", match="*")
    assert visitor.me() is None
    visitor.sign_in()
    assert person_named(connected, "ada@example.com")["id"] != first["id"]


def test_names_that_could_deceive_are_cleaned(
    connected: Caller, okta: OpenIdProvider, visitor: Visitor
) -> None:
    okta.user["name"] = "Boss (boss@example.com)\u202e\n x"
    visitor.sign_in()
    assert visitor.me()["name"] == "Boss boss@example.com x (ada@example.com)"


def test_email_and_groups_may_be_in_the_user_info(
    connected: Caller, okta: OpenIdProvider, visitor: Visitor
) -> None:
    for claim in ("email", "email_verified", "groups", "name"):
        okta.userinfo[claim] = okta.user.pop(claim)
    visitor.sign_in()
    assert visitor.me()["name"] == "Ada Lovelace (ada@example.com)"
    assert ("developer", "default") in grants_of(visitor.me())


def test_the_user_info_of_somebody_else_is_refused(
    connected: Caller, okta: OpenIdProvider, visitor: Visitor
) -> None:
    del okta.user["email"]
    okta.userinfo.update(sub="eve", email="eve@example.com", email_verified=True)
    assert "is not valid" in refusal(visitor.sign_in())


def test_groups_may_be_deep_in_the_claims(
    admin: Caller, okta: OpenIdProvider, visitor: Visitor
) -> None:
    mapping = {"provider_group": "ops", "grants": [{"role": "responder"}]}
    connect(admin, okta, groups_claim="realm.roles", group_mappings=[mapping])
    okta.user["realm"] = {"roles": ["ops"]}
    visitor.sign_in()
    assert grants_of(visitor.me()) == {("responder", None)}


def test_what_a_provider_said_is_neither_restored_nor_written_by_hand(
    connected: Caller, okta: OpenIdProvider, visitor: Visitor
) -> None:
    visitor.sign_in()
    path = f"/api/v1/people/{person_named(connected, 'ada@example.com')['id']}"
    okta.user["groups"] = []
    visitor.sign_in()
    restored = connected.call("POST", f"{path}/history/1/restore", match="*")
    assert restored.status_code == 200, restored.text
    assert grants_of(visitor.me()) == set()
    written = connected.put(
        path,
        {
            "email": "ada@example.com",
            "provided": [{"provider": "okta", "issuer": okta.issuer, "groups": ["ops"]}],
        },
        match="*",
    )
    assert written.status_code == 422


def test_the_last_admin_by_hand_stays_whatever_a_provider_gives(
    admin: Caller, okta: OpenIdProvider, visitor: Visitor
) -> None:
    boss = admin.post_ok(
        "/api/v1/people", {"email": "boss@example.com", "grants": [{"role": "admin"}]}
    )
    connect(
        admin,
        okta,
        group_mappings=[{"provider_group": "devs", "grants": [{"role": "admin"}]}],
    )
    visitor.sign_in()
    assert ("admin", None) in grants_of(visitor.me())
    refused = admin.delete(f"/api/v1/people/{boss['id']}", match="*")
    assert refused.status_code == 409
    assert "identity providers" in refused.text


# Forged and confused tokens


def unsigned(claims: Claims) -> str:
    header = json.dumps({"alg": "none", "kid": "key-1"}).encode()
    parts = [jws_part(header), jws_part(json.dumps(claims).encode()), ""]
    return ".".join(parts)


def jws_part(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def signed_with(secret: bytes, claims: Claims) -> str:
    """Sign with HS256, as somebody would who knows a text that is no secret of the provider."""
    header = json.dumps({"alg": "HS256", "kid": "key-1"}).encode()
    content = f"{jws_part(header)}.{jws_part(json.dumps(claims).encode())}"
    return f"{content}.{jws_part(hmac.digest(secret, content.encode(), 'sha256'))}"


NOW = int(time.time())


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "https://evil.example.com"},
        {"iss": None},
        {"iss": ["http://127.0.0.1"]},
        {"aud": "another-client"},
        {"aud": []},
        {"aud": None},
        {"aud": [CLIENT_ID, "another-client"]},
        {"aud": [CLIENT_ID, "another-client"], "azp": "another-client"},
        {"azp": "another-client"},
        {"nonce": "another nonce"},
        {"nonce": None},
        {"nonce": ["x"]},
        {"exp": NOW - 3600},
        {"exp": None},
        {"exp": "tomorrow"},
        {"iat": None},
        {"iat": NOW + 24 * 3600, "exp": NOW + 25 * 3600},
        {"nbf": NOW + 24 * 3600},
        {"sub": None},
        {"sub": ""},
        {"sub": 17},
        {"sub": "a" * 300},
        {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
        {"events": {"http://schemas.openid.net/event/backchannel-logout": {}}},
    ],
)
def test_an_id_token_that_is_not_for_this_sign_in_is_refused(
    connected: Caller, okta: OpenIdProvider, visitor: Visitor, change: Claims
) -> None:
    okta.change = lambda claims: {
        name: value for name, value in {**claims, **change}.items() if value is not None
    }
    assert "is not valid" in refusal(visitor.sign_in())
    assert visitor.me() is None
    assert person_named(connected, "ada@example.com") is None


def test_an_id_token_without_a_signature_of_the_provider_is_refused(
    connected: Caller, okta: OpenIdProvider, visitor: Visitor, other_rsa: RSAKey
) -> None:
    own = okta.key

    def with_other_key(claims: Claims) -> str:
        return replace(okta, key=other_rsa).signed(claims, {"kid": "key-1"})

    def with_unknown_key(claims: Claims) -> str:
        return replace(okta, key=other_rsa).signed(claims)

    def changed_later(claims: Claims) -> str:
        header, _, signature = okta.signed(claims).split(".")
        other = jws_part(json.dumps({**claims, "sub": "eve"}).encode())
        return f"{header}.{other}.{signature}"

    def with_own_key_in_header(claims: Claims) -> str:
        header = {"kid": "key-2", "jwk": dict(other_rsa.as_dict(private=False))}
        return replace(okta, key=other_rsa).signed(claims, header)

    for sign in (
        unsigned,
        lambda claims: signed_with(own.as_pem(private=False), claims),
        lambda claims: signed_with(own.as_der(private=False), claims),
        lambda claims: signed_with(CLIENT_SECRET.encode(), claims),
        with_other_key,
        with_unknown_key,
        with_own_key_in_header,
        changed_later,
        lambda claims: "not a token",
        lambda claims: "a.b.c",
        lambda claims: "",
    ):
        okta.sign = sign
        assert "is not valid" in refusal(visitor.sign_in())
        assert visitor.me() is None
    assert okta.key is own
    okta.sign = None
    assert visitor.sign_in().status_code == 303


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "PS256", "ES256"])
def test_asymmetric_algorithms_are_accepted(
    connected: Caller, okta: OpenIdProvider, visitor: Visitor, algorithm: str
) -> None:
    if algorithm.startswith("ES"):
        okta.key = ECKey.generate_key("P-256", {"kid": "ec"})
        okta.published = [okta.key]
    okta.algorithm = algorithm
    assert visitor.sign_in().status_code == 303


def test_a_new_key_is_found_and_unknown_ones_are_not_looked_for_all_the_time(
    connected: Caller, okta: OpenIdProvider, visitor: Visitor, other_rsa: RSAKey
) -> None:
    visitor.sign_in()
    old, okta.key, okta.published = okta.key, other_rsa, [other_rsa]
    assert visitor.sign_in().status_code == 303
    assert okta.asked.count("/keys") == 2
    okta.key = old
    for _ in range(3):
        refusal(visitor.sign_in())
    assert okta.asked.count("/keys") == 2
    assert okta.asked.count("/.well-known/openid-configuration") == 1


# The browser


def test_a_state_works_once_and_only_in_its_browser(
    app: Flask, connected: Caller, okta: OpenIdProvider, visitor: Visitor
) -> None:
    mine = at_provider(visitor.begin())
    victim = Visitor(app.test_client())
    assert "began in another browser" in refusal(victim.come_back(mine))
    victim.begin()
    assert "began in another browser" in refusal(victim.come_back(mine))
    assert victim.me() is None
    cookie = visitor.client.get_cookie("tidegate-flow-http")
    assert cookie is not None
    assert visitor.come_back(mine).status_code == 303
    visitor.client.set_cookie("tidegate-flow-http", cookie.value)
    assert "began in another browser" in refusal(visitor.come_back(mine))
    assert okta.asked.count("/token") == 1


def test_a_code_of_another_sign_in_is_useless(
    app: Flask, connected: Caller, okta: OpenIdProvider, visitor: Visitor
) -> None:
    stolen = dict(parse_qsl(urlsplit(at_provider(visitor.begin())).query))["code"]
    thief = Visitor(app.test_client())
    okta.answer = lambda query: {**query, "code": stolen}
    assert "is not valid" in refusal(thief.sign_in())
    assert thief.me() is None


def test_a_changed_cookie_counts_as_none(connected: Caller, visitor: Visitor) -> None:
    mine = at_provider(visitor.begin())
    cookie = visitor.client.get_cookie("tidegate-flow-http")
    assert cookie is not None
    assert (cookie.http_only, cookie.same_site, cookie.path) == (True, "Lax", "/")
    for value in (cookie.value[:-4] + "AAAA", "AAAA", "", "x" * 4_001):
        visitor.client.set_cookie("tidegate-flow-http", value)
        assert "began in another browser" in refusal(visitor.come_back(mine))


def test_over_https_only_this_host_gets_the_cookie(connected: Caller, app: Flask) -> None:
    answer = app.test_client().get("/sign-in/with/okta", base_url="https://localhost")
    [cookie] = [each for each in answer.headers.getlist("Set-Cookie") if "flow" in each]
    assert cookie.startswith("__Host-tidegate-flow=")
    assert "Secure" in cookie
    assert "Domain" not in cookie
    assert "redirect_uri=https%3A%2F%2Flocalhost%2F" in answer.location


def test_an_answer_of_another_provider_is_refused(
    admin: Caller, okta: OpenIdProvider, visitor: Visitor, other_rsa: RSAKey
) -> None:
    with running_provider(other_rsa) as evil:
        connect(admin, okta)
        connect(admin, evil, "evil")
        # The browser began with one provider and comes back from the other.
        begun = visitor.begin("okta")
        to_evil = begun.replace(okta.issuer, evil.issuer)
        assert "is not valid" in refusal(visitor.come_back(at_provider(to_evil)))
        begun = visitor.begin("okta")
        elsewhere = at_provider(begun).replace("/with/okta/", "/with/evil/")
        assert "began in another browser" in refusal(visitor.come_back(elsewhere))
        # A provider that does not name itself cannot leave the name out for another one.
        okta.answer = lambda query: {k: v for k, v in query.items() if k != "iss"}
        assert "is not valid" in refusal(visitor.sign_in("okta"))
        assert evil.asked.count("/token") == okta.asked.count("/token") == 0


def test_a_token_of_one_provider_does_not_work_for_another(
    admin: Caller, okta: OpenIdProvider, visitor: Visitor, other_rsa: RSAKey
) -> None:
    with running_provider(other_rsa) as evil:
        connect(admin, okta)
        connect(admin, evil, "evil")
        visitor.sign_in("okta")
        ada = visitor.me()["person"]["id"]
        evil.change = lambda claims: {**claims, "iss": okta.issuer}
        assert "is not valid" in refusal(visitor.sign_in("evil"))
        evil.change = lambda claims: claims
        assert "does not sign in with this account" in refusal(visitor.sign_in("evil"))
        okta.user["email"] = "other@example.com"
        visitor.sign_in("okta")
        assert visitor.me()["person"]["id"] == ada


@pytest.mark.parametrize(
    "wanted", ["https://evil.example.com/", "//evil.example.com", "/\\evil.example.com", "a"]
)
def test_signing_in_leads_to_no_other_site(
    connected: Caller, visitor: Visitor, wanted: str
) -> None:
    assert visitor.sign_in(next=wanted).location == "/"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        ("access_denied", "you or it said no"),
        ("server_error", "could not sign you in"),
        ("<script>alert(1)</script>", "could not sign you in"),
    ],
)
def test_what_goes_wrong_at_the_provider_is_said_in_words(
    connected: Caller, okta: OpenIdProvider, visitor: Visitor, error: str, says: str
) -> None:
    okta.refusal = error
    text = refusal(visitor.sign_in())
    assert says in text
    assert "alert(1)" not in text


def test_a_provider_that_does_not_answer_is_said_in_words(
    admin: Caller, okta: OpenIdProvider, visitor: Visitor
) -> None:
    connect(admin, okta)
    okta.settings["issuer"] = "https://another.example.com"
    page = visitor.client.get("/sign-in/with/okta")
    assert "Okta does not answer as it should" in refusal(page)
    assert "another.example.com" not in page.text


@pytest.mark.parametrize(
    "stated",
    [
        {"token_endpoint": "http://evil.example.com/token"},
        {"jwks_uri": "ftp://evil.example.com/keys"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": None},
        {"end_session_endpoint": "javascript:alert(1)"},
    ],
)
def test_addresses_that_cannot_be_trusted_are_refused(
    admin: Caller, okta: OpenIdProvider, visitor: Visitor, stated: Claims
) -> None:
    connect(admin, okta)
    okta.settings.update(stated)
    assert "does not answer as it should" in refusal(visitor.client.get("/sign-in/with/okta"))


def test_a_wrong_client_secret_signs_nobody_in(
    connected: Caller, okta: OpenIdProvider, visitor: Visitor
) -> None:
    okta.secret = "another secret"
    assert "does not answer as it should" in refusal(visitor.sign_in())


def test_sign_ins_that_come_to_nothing_are_slowed(
    connected: Caller, okta: OpenIdProvider, visitor: Visitor
) -> None:
    path = "/api/v1/sign-in/with/okta/callback"
    for _ in range(60):  # another page can make a browser do this, so it does not count
        assert visitor.client.post(path, json={"state": "a"}).status_code == 401
    okta.refusal = "access_denied"
    for _ in range(50):
        assert visitor.sign_in().status_code == 401
    assert visitor.sign_in().status_code == 429


def test_neither_the_log_nor_the_store_has_what_a_provider_sent(
    connected: Caller,
    okta: OpenIdProvider,
    visitor: Visitor,
    raw: redis.Redis,
    capfd: pytest.CaptureFixture[str],
) -> None:
    kept: list[str] = [CLIENT_SECRET]
    begun = visitor.begin()
    kept += [dict(parse_qsl(urlsplit(begun).query))[name] for name in ("state", "nonce")]
    cookie = visitor.client.get_cookie("tidegate-flow-http")
    assert cookie is not None
    kept.append(cookie.value)

    def sign(claims: Claims) -> str:
        kept.append(okta.signed(claims))
        return kept[-1]

    okta.sign = sign
    back = at_provider(begun)
    kept.append(dict(parse_qsl(urlsplit(back).query))["code"])
    assert visitor.come_back(back).status_code == 303
    refusal(visitor.come_back(back))
    okta.change = lambda claims: {**claims, "nonce": "wrong"}
    refusal(visitor.sign_in())
    out = capfd.readouterr()
    logged = out.out + out.err + raw_contents(raw)
    for each in kept:
        assert each not in logged
    assert "sign_in_refused" in out.out + out.err


# Invitations, and no passwords


def test_an_invitation_is_accepted_with_a_provider_whatever_the_email(
    admin: Caller, okta: OpenIdProvider, visitor: Visitor
) -> None:
    connect(admin, okta, email_domains=[], create_people=False)
    link = invited(admin, "boss@example.org", {"role": "developer"})
    begun = visitor.accept_with(link)
    assert visitor.come_back(at_provider(begun)).status_code == 303
    assert visitor.me()["person"]["email"] == "boss@example.org"
    assert visitor.me()["name"].startswith("Ada Lovelace ")
    visitor.sign_in()
    assert visitor.me()["person"]["email"] == "boss@example.org"
    again = visitor.client.post("/invitation", data={"invitation": link, "provider": "okta"})
    assert again.status_code == 422, "the invitation was used"


def test_an_account_with_a_password_moves_to_a_provider_by_an_invitation(
    app: Flask, connected: Caller, visitor: Visitor
) -> None:
    ada = join(app, connected, "ada@example.com", {"role": "developer"})
    path = f"/api/v1/people/{ada.person['id']}/invitation"
    link = connected.post_ok(path, {})["link"]
    begun = visitor.accept_with(link)
    assert ada.get("/api/v1/me").status_code == 200
    visitor.come_back(at_provider(begun))
    assert visitor.me()["person"]["id"] == ada.person["id"]
    assert ada.get("/api/v1/me").status_code == 401, "sessions before the link have ended"


def test_an_invitation_that_was_replaced_meanwhile_links_nothing(
    connected: Caller, visitor: Visitor
) -> None:
    link = invited(connected, "ada@example.com", {"role": "admin"})
    begun = visitor.accept_with(link)
    person = person_named(connected, "ada@example.com")
    connected.post_ok(f"/api/v1/people/{person['id']}/invitation", {})
    assert "This invitation does not work" in refusal(visitor.come_back(at_provider(begun)))
    assert person_named(connected, "ada@example.com")["identities"] == []


def test_an_identity_stays_with_its_person_whatever_invitation_comes(
    connected: Caller, visitor: Visitor
) -> None:
    visitor.sign_in()
    link = invited(connected, "boss@example.com", {"role": "admin"})
    begun = visitor.accept_with(link)
    assert "belongs to another person" in refusal(visitor.come_back(at_provider(begun)))


def test_a_second_factor_is_needed_to_accept_with_a_provider(
    app: Flask, connected: Caller, visitor: Visitor
) -> None:
    ada = join(app, connected, "ada@example.com", {"role": "developer"})
    secret = ada.post_ok("/api/v1/me/second-factor", {"password": PASSWORD})["secret"]
    code = pyotp.TOTP(secret).now()
    confirmed = ada.post_ok("/api/v1/me/second-factor/confirm", {"code": code})
    path = f"/api/v1/people/{ada.person['id']}/invitation"
    link = connected.post_ok(path, {})["link"]
    form = {"invitation": link, "provider": "okta"}
    asked = visitor.client.post("/invitation", data=form)
    assert asked.status_code == 401
    assert "One-time code" in asked.text
    wrong = visitor.client.post("/invitation", data={**form, "code": "aaaa-aaaa-aaaa-aaaa"})
    assert wrong.status_code == 401
    right = {**form, "code": confirmed["recovery_codes"][0]}
    assert visitor.client.post("/invitation", data=right).status_code == 200


def test_no_page_of_another_site_accepts_an_invitation(connected: Caller, visitor: Visitor) -> None:
    body = {"invitation": invited(connected, "eve@example.com")}
    headers = {"Sec-Fetch-Site": "cross-site"}
    path = "/api/v1/sign-in/with/okta"
    assert visitor.client.post(path, json=body, headers=headers).status_code == 403


def test_an_identity_is_taken_away_by_whoever_may_act_as_its_person(
    connected: Caller, visitor: Visitor
) -> None:
    visitor.sign_in()
    person = person_named(connected, "ada@example.com")
    path = f"/api/v1/people/{person['id']}/identities/{person['identities'][0]['id']}"
    assert connected.token_for("admin", "default", None).delete(path).status_code == 403
    assert connected.delete(path).status_code == 204
    assert visitor.me() is None
    left = person_named(connected, "ada@example.com")
    assert (left["identities"], left["provided"]) == ([], [])
    assert connected.delete(path).status_code == 404
    entry = audit(connected)[0]
    assert (entry["action"], entry["target"]) == ("person.unlink", person["id"])


class TestWithoutPasswords:
    """A server where only identity providers sign people in."""

    @pytest.fixture
    def settings(self, settings: ApiSettings) -> ApiSettings:
        return replace(settings, password_sign_in=False)

    def test_nobody_signs_in_with_a_password(
        self, app: Flask, connected: Caller, visitor: Visitor
    ) -> None:
        page = visitor.client.get("/sign-in").text
        assert "Sign in with Okta" in page
        assert 'name="password"' not in page
        refused = password_sign_in(app, "ada@example.com")
        assert refused.status_code == 403
        assert "with an identity provider only" in refused.text
        link = invited(connected, "ada@example.com", {"role": "developer"})
        body = {"invitation": link, "name": "Ada", "password": PASSWORD}
        assert visitor.client.post("/api/v1/invitations/accept", json=body).status_code == 403
        begun = visitor.accept_with(link)
        assert visitor.come_back(at_provider(begun)).status_code == 303
        assert visitor.me()["person"]["email"] == "ada@example.com"

    def test_a_server_without_a_provider_says_so(self, app: Flask, visitor: Visitor) -> None:
        assert "Nobody can sign in yet" in visitor.client.get("/sign-in").text
