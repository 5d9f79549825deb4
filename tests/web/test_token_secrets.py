"""Tokens are parsed, compared by digest, and never shown."""

from __future__ import annotations

import pytest
from tidegate_server.domain.permissions import Role
from tidegate_server.web import token_secrets
from tidegate_server.web.token_secrets import ParsedToken


@pytest.mark.parametrize("role", list(Role))
def test_a_formatted_token_can_be_parsed(role: Role) -> None:
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
def test_other_texts_are_no_tokens(text: str) -> None:
    assert token_secrets.parse_token(text) is None


def test_an_operator_may_choose_the_bootstrap_token() -> None:
    assert token_secrets.parse_token("correct-horse-battery-staple") == ParsedToken(
        token_secrets.BOOTSTRAP_ID, "correct-horse-battery-staple"
    )


def test_a_secret_matches_only_its_digest_under_the_same_key() -> None:
    digest = token_secrets.secret_digest(b"key", "secret")
    assert token_secrets.secret_matches(b"key", "secret", digest)
    assert not token_secrets.secret_matches(b"key", "secre7", digest)
    assert not token_secrets.secret_matches(b"yek", "secret", digest)


def test_repr_hides_the_secret() -> None:
    assert "hidden" not in repr(ParsedToken("id", "hidden"))


def test_different_keys_have_different_fingerprints() -> None:
    assert token_secrets.fingerprint(b"one") == token_secrets.fingerprint(b"one")
    assert token_secrets.fingerprint(b"one") != token_secrets.fingerprint(b"two")
