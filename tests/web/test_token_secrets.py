"""Tokens are read, compared and kept without their secrets."""

from __future__ import annotations

import pytest
from tidegate_server.domain.tokens import Role
from tidegate_server.web import token_secrets
from tidegate_server.web.token_secrets import Presented


@pytest.mark.parametrize("role", list(Role))
def test_a_written_token_is_read_back(role: Role) -> None:
    id, secret = token_secrets.new_id(), token_secrets.new_secret()
    assert token_secrets.read(token_secrets.written(role, id, secret)) == Presented(id, secret)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "tg_admin_id",
        "tg_root_id_0123456789abcdef",
        "tg_admin_ID_0123456789abcdef",
        "a b" * 9,
    ],
)
def test_what_cannot_be_a_token_is_none(text: str) -> None:
    assert token_secrets.read(text) is None


def test_an_operator_may_think_up_the_first_token() -> None:
    assert token_secrets.read("correct-horse-battery-staple") == Presented(
        token_secrets.BOOTSTRAP_ID, "correct-horse-battery-staple"
    )


def test_a_secret_matches_its_own_digest_under_the_same_key_only() -> None:
    kept = token_secrets.digest(b"key", "secret")
    assert token_secrets.matches(b"key", "secret", kept)
    assert not token_secrets.matches(b"key", "secre7", kept)
    assert not token_secrets.matches(b"yek", "secret", kept)


def test_nothing_shows_a_secret() -> None:
    assert "hidden" not in repr(Presented("id", "hidden"))


def test_a_fingerprint_tells_keys_apart() -> None:
    assert token_secrets.fingerprint(b"one") == token_secrets.fingerprint(b"one")
    assert token_secrets.fingerprint(b"one") != token_secrets.fingerprint(b"two")
