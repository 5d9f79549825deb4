"""The first start creates what a server needs; later starts change nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from tidegate_server.admin.bootstrap import FINGERPRINT, BootstrapResult, bootstrap, key_in_use
from tidegate_server.application import create_app
from tidegate_server.domain.kinds import Kind
from tidegate_server.errors import StartupRefused
from tidegate_server.store import Store
from tidegate_server.web.settings import ApiSettings
from tidegate_server.web.token_secrets import BOOTSTRAP_ID, fingerprint

from tests.http_calls import PROJECT, Caller, stored_documents

KEY = b"some key"


def is_accepted(store: Store, token: str) -> bool:
    caller = Caller(create_app(store, ApiSettings(KEY)).test_client(), token)
    return caller.get(f"{PROJECT}/flags").status_code == 200


def test_the_first_start_creates_a_project_and_an_admin_token(store: Store) -> None:
    result = bootstrap(store, KEY)
    assert result.token is not None
    assert result.token.startswith("tg_admin_")
    assert is_accepted(store, result.token)
    assert sorted(store.all("default", Kind.ENVIRONMENT)) == ["development", "production"]


def test_a_second_start_changes_nothing(store: Store) -> None:
    bootstrap(store, KEY)
    before = stored_documents(store)
    assert bootstrap(store, KEY) == BootstrapResult(token=None, ignored=False)
    assert stored_documents(store) == before


@pytest.mark.parametrize(
    "given", ["correct-horse-battery-staple", "tg_admin_ci_0123456789abcdef0123456789abcdef"]
)
def test_the_operator_may_choose_the_first_token(store: Store, given: str) -> None:
    assert bootstrap(store, KEY, given) == BootstrapResult(token=None, ignored=False)
    assert is_accepted(store, given)
    assert bootstrap(store, KEY, given) == BootstrapResult(token=None, ignored=False)


def test_a_token_given_to_a_later_start_is_ignored_and_reported(store: Store) -> None:
    bootstrap(store, KEY)
    given = "correct-horse-battery-staple"
    assert bootstrap(store, KEY, given) == BootstrapResult(token=None, ignored=True)
    assert not is_accepted(store, given)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("short", "must have 20 to 200 characters; it has 5"),
        ("x" * 201, "it has 201"),
        ("with a space in the middle of it", "contains a space at position 5"),
        ("correct-horse\nbattery-staple", "contains a line break"),
        ("correct-hörse-battery-staple", r"outside ASCII \(U\+00F6\)"),
        ("tg_admin_extra_short-secret", "begins with tg_ but is not a complete token"),
        ("tg_admin_" + "a" * 40, "begins with tg_ but is not a complete token"),
        ("tg_owner_x_0123456789abcdef", "begins with tg_ but is not a complete token"),
    ],
)
def test_a_refused_token_stops_the_start_with_the_true_reason(
    store: Store, given: str, reason: str
) -> None:
    with pytest.raises(StartupRefused, match=f"TIDEGATE_BOOTSTRAP_TOKEN.*{reason}") as refused:
        bootstrap(store, KEY, given)
    assert given not in refused.value.message


@pytest.mark.parametrize("around", ["\n", "\r\n", " ", "\ufeff"])
def test_white_space_around_the_first_token_is_dropped(store: Store, around: str) -> None:
    given = "correct-horse-battery-staple"
    assert bootstrap(store, KEY, around + given + around) == BootstrapResult()
    assert is_accepted(store, given)


def test_a_revoked_first_token_stays_revoked_while_a_custom_role_administers(store: Store) -> None:
    given = "correct-horse-battery-staple"
    bootstrap(store, KEY, given)
    client = create_app(store, ApiSettings(KEY)).test_client()
    custom = {"role": "custom", "permissions": ["administer", "read"], "whole_server": True}
    made = Caller(client, given).post_ok("/api/v1/tokens", {"name": "keeper", **custom})
    keeper = Caller(client, made["secret"])
    assert keeper.delete(f"/api/v1/tokens/{BOOTSTRAP_ID}", match="*").status_code == 204
    assert bootstrap(store, KEY, given) == BootstrapResult(token=None, ignored=True)
    assert not is_accepted(store, given)


def test_another_secret_key_stops_the_start(store: Store) -> None:
    bootstrap(store, KEY)
    with pytest.raises(StartupRefused, match="TIDEGATE_SECRET_KEY"):
        bootstrap(store, b"another key")


def test_white_space_around_the_secret_key_does_not_matter(store: Store) -> None:
    for key in (KEY + b"\n", b" " + KEY + b"\r\n", KEY):
        assert key_in_use(store, key) == KEY


def test_a_store_that_was_first_used_with_white_space_in_its_key_keeps_it(store: Store) -> None:
    """Earlier versions did so; without it, no token of the store would work any more."""
    old = KEY + b"\n"
    store.put_server_value_once(FINGERPRINT, fingerprint(old))
    assert key_in_use(store, old) == old
    assert bootstrap(store, old).token is not None
    with pytest.raises(StartupRefused, match="created with another secret key"):
        key_in_use(store, KEY)


def test_a_line_break_within_the_key_of_a_new_store_is_refused(store: Store) -> None:
    with pytest.raises(StartupRefused, match="TIDEGATE_SECRET_KEY contains a line break"):
        key_in_use(store, b"one line\nanother line")
    assert store.get_server_value(FINGERPRINT) is None


def test_servers_that_start_at_the_same_time_create_everything_once(store: Store) -> None:
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: bootstrap(store, KEY), range(4)))
    tokens = [each.token for each in results if each.token is not None]
    assert len(tokens) == 1
    assert is_accepted(store, tokens[0])
    assert len(store.all("", Kind.TOKEN)) == 1
    assert sorted(store.all("default", Kind.ENVIRONMENT)) == ["development", "production"]


def test_the_first_start_invites_the_first_admin_once(store: Store) -> None:
    first = bootstrap(store, KEY)
    assert first.token is not None
    assert first.invitation is not None
    assert first.invitation not in repr(store.all("", Kind.INVITATION))
    again = bootstrap(store, KEY)
    assert (again.token, again.invitation) == (None, None)
    app = create_app(store, ApiSettings(KEY, token_poll_seconds=0))
    body = {
        "invitation": f"http://127.0.0.1:8080/invitation#{first.invitation}",
        "name": "Ada",
        "password": "four quiet harbour boats",
    }
    client = app.test_client()
    assert client.post("/api/v1/invitations/accept", json=body).status_code == 422, "no email"
    accepted = client.post("/api/v1/invitations/accept", json={**body, "email": "Ada@example.com"})
    assert accepted.status_code == 200, accepted.text
    me = client.get("/api/v1/me").json
    assert me is not None
    assert me["person"]["email"] == "ada@example.com"
    assert [grant["role"] for grant in me["grants"]] == ["admin"]
    repeated = client.post("/api/v1/invitations/accept", json={**body, "email": "eve@example.com"})
    assert repeated.status_code == 422
    app.extensions["tidegate"].close()


def test_the_first_invitation_does_not_work_once_somebody_administers_the_server(
    store: Store,
) -> None:
    first = bootstrap(store, KEY)
    app = create_app(store, ApiSettings(KEY, token_poll_seconds=0))
    client = app.test_client()
    made = client.post(
        "/api/v1/people",
        json={"email": "ada@example.com", "grants": [{"role": "admin"}]},
        headers={"Authorization": f"Bearer {first.token}"},
    )
    assert made.status_code == 201
    body = {
        "invitation": first.invitation,
        "name": "Eve",
        "email": "eve@example.com",
        "password": "four quiet harbour boats",
    }
    refused = client.post("/api/v1/invitations/accept", json=body)
    assert refused.status_code == 409
    app.extensions["tidegate"].close()


def test_a_given_token_makes_no_invitation(store: Store) -> None:
    assert bootstrap(store, KEY, "a-token-that-the-operator-chose").invitation is None
    assert store.all("", Kind.INVITATION) == {}
