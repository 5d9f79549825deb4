"""Tokens are read, compared and kept without their secrets."""

from __future__ import annotations

import pytest
from tidegate_server.api import credentials
from tidegate_server.api.credentials import Presented
from tidegate_server.domain.tokens import Role


@pytest.mark.parametrize("role", list(Role))
def test_a_written_token_is_read_back(role: Role) -> None:
    id, secret = credentials.new_id(), credentials.new_secret()
    assert credentials.read(credentials.written(role, id, secret)) == Presented(id, secret)


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
    assert credentials.read(text) is None


def test_an_operator_may_think_up_the_first_token() -> None:
    assert credentials.read("correct-horse-battery-staple") == Presented(
        credentials.BOOTSTRAP_ID, "correct-horse-battery-staple"
    )


def test_a_secret_matches_its_own_digest_under_the_same_key_only() -> None:
    kept = credentials.digest(b"key", "secret")
    assert credentials.matches(b"key", "secret", kept)
    assert not credentials.matches(b"key", "secre7", kept)
    assert not credentials.matches(b"yek", "secret", kept)


def test_nothing_shows_a_secret() -> None:
    assert "hidden" not in repr(Presented("id", "hidden"))


def test_a_fingerprint_tells_keys_apart() -> None:
    assert credentials.fingerprint(b"one") == credentials.fingerprint(b"one")
    assert credentials.fingerprint(b"one") != credentials.fingerprint(b"two")
