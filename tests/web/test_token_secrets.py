"""Tokens are read, compared and kept without their secrets."""

from __future__ import annotations

import pytest
from tidegate_server.domain.tokens import Role
from tidegate_server.web import token_secrets
from tidegate_server.web.token_secrets import ParsedToken


@pytest.mark.parametrize("role", list(Role))
def test_a_written_token_is_read_back(role: Role) -> None:
    id, secret = token_secrets.new_id(), token_secrets.new_secret()
    assert token_secrets.parse_token(token_secrets.format_token(role, id, secret)) == ParsedToken(
        id, secret
    )


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
    assert token_secrets.parse_token(text) is None


def test_an_operator_may_think_up_the_first_token() -> None:
    assert token_secrets.parse_token("correct-horse-battery-staple") == ParsedToken(
        token_secrets.BOOTSTRAP_ID, "correct-horse-battery-staple"
    )


def test_a_secret_matches_its_own_digest_under_the_same_key_only() -> None:
    kept = token_secrets.secret_digest(b"key", "secret")
    assert token_secrets.secret_matches(b"key", "secret", kept)
    assert not token_secrets.secret_matches(b"key", "secre7", kept)
    assert not token_secrets.secret_matches(b"yek", "secret", kept)


def test_nothing_shows_a_secret() -> None:
    assert "hidden" not in repr(ParsedToken("id", "hidden"))


def test_a_fingerprint_tells_keys_apart() -> None:
    assert token_secrets.fingerprint(b"one") == token_secrets.fingerprint(b"one")
    assert token_secrets.fingerprint(b"one") != token_secrets.fingerprint(b"two")
