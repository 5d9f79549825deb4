"""Addresses and tokens: what the SDK, the command line and urllib3 make of odd ones."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tidegate.addresses import server_address, split_url, token_text
from tidegate.errors import InvalidSetting
from tidegate_server.cli.target import check_token, check_url
from tidegate_server.errors import StartupRefused
from urllib3.util import parse_url

PARTS = st.sampled_from(
    ["http", "HTTPS", "ftp", "://", ":", "/", "//", "[", "]", "::1", "[::1]", "[fe80::1%25eth0]",
     "a", "example.com", "A_b", "..", ".", "-", "%", "%41", "@", "user:pw@", "?", "#", "\\", "8080",
     ":99999", ":0", ":08", " ", "\n", "\t", "\x00", "\ufeff", "\u200b", "\u00fc", "\u0131", "<",
     "|", "x" * 64, "1.2.3.4", "xn--mnchen-3ya"]
)  # fmt: skip
TEXTS = st.lists(PARTS, max_size=6).map("".join)
URLS = TEXTS | TEXTS.map(lambda rest: f"http://{rest}") | st.text(st.characters(codec=None))


def of_sdk(text: str) -> str | None:
    try:
        return server_address(text)
    except InvalidSetting:
        return None


def of_cli(text: str) -> str | None:
    try:
        return check_url(text)
    except StartupRefused:
        return None


@given(URLS)
def test_the_sdk_and_the_commands_take_the_same_addresses(text: str) -> None:
    address = of_sdk(text)
    assert address == of_cli(text) == of_cli(f" {text}\n")
    if address is not None:
        assert of_sdk(address) == address


@given(URLS)
@example("http://0:[::]")
@example("http://0[::1]:80")
def test_every_address_that_is_taken_can_be_sent_to(text: str) -> None:
    address = of_sdk(text)
    if address is None:
        return
    parts, sent = split_url(address), parse_url(f"{address}/sdk/v1/snapshot")
    assert parts is not None
    assert parts.hostname is not None
    assert sent.scheme == parts.scheme
    assert (sent.host or "").strip("[]").lower().partition("%")[0] == parts.hostname.partition("%")[
        0
    ]
    assert sent.port == parts.port
    parts.hostname.encode("idna")


@given(st.text(st.characters(codec=None)) | TEXTS)
def test_the_sdk_and_the_commands_take_the_same_tokens(text: str) -> None:
    try:
        token = token_text(text)
    except InvalidSetting:
        with pytest.raises(StartupRefused):
            check_token(text)
    else:
        assert token == check_token(text)
        assert token.isascii()
