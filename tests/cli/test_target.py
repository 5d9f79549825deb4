"""Which server, project and environment a command uses."""

from __future__ import annotations

from pathlib import Path

import pytest
from tidegate_server.cli.contexts import Context, Contexts
from tidegate_server.cli.target import Target, TargetOptions, check_token, check_url, resolve_target
from tidegate_server.errors import StartupRefused

URL = {"TIDEGATE_URL": "http://variables", "TIDEGATE_TOKEN": "a-token-of-variables"}


@pytest.fixture
def saved(tmp_path: Path) -> dict[str, str]:
    """Variables that name a file with the contexts `one`, the current one, and `two`."""
    path = tmp_path / "contexts.json"
    one = Context("http://one", "a-token-of-one", "shop", "staging")
    two = Context("http://two", "a-token-of-two")
    Contexts(path).with_context("two", two).with_context("one", one).write()
    return {"TIDEGATE_CONFIG": str(path)}


def fields(target: Target) -> tuple[str, str, str, str]:
    return (target.url, target.token, target.project, target.environment)


def test_variables_select_a_target() -> None:
    assert fields(resolve_target(TargetOptions(), URL)) == (
        "http://variables",
        "a-token-of-variables",
        "default",
        "production",
    )


def test_options_take_precedence_over_variables() -> None:
    given = TargetOptions(url="http://option/", project="p", environment="e")
    variables = {**URL, "TIDEGATE_PROJECT": "x", "TIDEGATE_ENVIRONMENT": "y"}
    assert fields(resolve_target(given, variables)) == (
        "http://option",
        "a-token-of-variables",
        "p",
        "e",
    )


def test_the_current_context_is_used_without_an_address(saved: dict[str, str]) -> None:
    assert fields(resolve_target(TargetOptions(), saved)) == (
        "http://one",
        "a-token-of-one",
        "shop",
        "staging",
    )
    named = {**saved, "TIDEGATE_CONTEXT": "two"}
    assert fields(resolve_target(TargetOptions(), named)) == (
        "http://two",
        "a-token-of-two",
        "default",
        "production",
    )
    output = {**saved, "TIDEGATE_ENVIRONMENT": "development", "TIDEGATE_TOKEN": "another-token"}
    assert fields(resolve_target(TargetOptions(), output)) == (
        "http://one",
        "another-token",
        "shop",
        "development",
    )


def test_an_address_excludes_the_context_as_a_whole(saved: dict[str, str]) -> None:
    assert fields(resolve_target(TargetOptions(), {**saved, **URL}))[2:] == (
        "default",
        "production",
    )
    with pytest.raises(StartupRefused, match="No token for http://elsewhere"):
        resolve_target(TargetOptions(url="http://elsewhere"), saved)
    with pytest.raises(StartupRefused, match="only sent to the context"):
        resolve_target(TargetOptions(), {**saved, "TIDEGATE_URL": "http://elsewhere"})


def test_a_context_given_as_an_option_excludes_the_variables(saved: dict[str, str]) -> None:
    variables = {**saved, **URL, "TIDEGATE_PROJECT": "x", "TIDEGATE_CONTEXT": "two"}
    assert fields(resolve_target(TargetOptions(context="one"), variables)) == (
        "http://one",
        "a-token-of-one",
        "shop",
        "staging",
    )
    with pytest.raises(StartupRefused, match="not both"):
        resolve_target(TargetOptions(context="one", url="http://x"), variables)


def test_an_empty_variable_is_ignored(saved: dict[str, str]) -> None:
    variables = {**saved, "TIDEGATE_URL": "", "TIDEGATE_TOKEN": "", "TIDEGATE_PROJECT": ""}
    assert fields(resolve_target(TargetOptions(), variables))[0] == "http://one"


def test_without_a_server_the_refusal_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StartupRefused, match="set TIDEGATE_URL and TIDEGATE_TOKEN, or"):
        resolve_target(TargetOptions(), {"TIDEGATE_CONFIG": str(tmp_path / "none.json")})


def test_the_repr_of_a_target_has_no_token(saved: dict[str, str]) -> None:
    target = resolve_target(TargetOptions(), saved)
    assert target.token not in repr(target)
    assert target.token not in repr(Contexts.read(saved))


@pytest.mark.parametrize(
    "url",
    [
        *("", "localhost:8080", "ftp://x", "http://", "http://x:99999", "http://x/?a=1"),
        *("http://[::1", "http://a..b", "http://ü.example", "http://x\u200b"),
        *("http://a:b@x", "http://127.0.0.1:1\n/", "http://a b", "http://x/#a", "http://x:0"),
    ],
)
def test_an_invalid_address_is_refused(url: str) -> None:
    with pytest.raises(StartupRefused, match=r"https://tidegate\.example\.com"):
        check_url(url)


def test_an_address_may_have_a_path() -> None:
    assert check_url("https://example.com/tidegate/") == "https://example.com/tidegate"


@pytest.mark.parametrize("around", ["\n", "\r\n", " ", "\ufeff", "\t", "\ufeff \n", "\u00a0"])
def test_white_space_around_an_address_or_token_is_dropped(around: str) -> None:
    assert check_url(f"{around}HTTPS://example.com/{around}") == "https://example.com"
    assert check_token(f"{around}a-token{around}") == "a-token"


@pytest.mark.parametrize("token", ["", "  \n", "two words", "ümlaut", "a\nb"])
def test_a_malformed_token_is_refused_without_printing_it(token: str) -> None:
    with pytest.raises(StartupRefused) as refused:
        check_token(token)
    assert not token.strip() or token.strip() not in refused.value.message
