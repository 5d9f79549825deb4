"""Which server, project and environment a command is for."""

from __future__ import annotations

from pathlib import Path

import pytest
from tidegate_server.cli.contexts import Context, Contexts
from tidegate_server.cli.target import Given, Target, check_token, check_url, resolve
from tidegate_server.errors import StartupRefused

URL = {"TIDEGATE_URL": "http://variables", "TIDEGATE_TOKEN": "a-token-of-variables"}


@pytest.fixture
def kept(tmp_path: Path) -> dict[str, str]:
    """Variables that name a file with the contexts `one`, in use, and `two`."""
    path = tmp_path / "contexts.json"
    one = Context("http://one", "a-token-of-one", "shop", "staging")
    two = Context("http://two", "a-token-of-two")
    Contexts(path).with_context("two", two).with_context("one", one).write()
    return {"TIDEGATE_CONFIG": str(path)}


def where(target: Target) -> tuple[str, str, str, str]:
    return (target.url, target.token, target.project, target.environment)


def test_variables_are_enough() -> None:
    assert where(resolve(Given(), URL)) == (
        "http://variables",
        "a-token-of-variables",
        "default",
        "production",
    )


def test_options_go_before_variables() -> None:
    given = Given(url="http://option/", project="p", environment="e")
    variables = {**URL, "TIDEGATE_PROJECT": "x", "TIDEGATE_ENVIRONMENT": "y"}
    assert where(resolve(given, variables)) == (
        "http://option",
        "a-token-of-variables",
        "p",
        "e",
    )


def test_the_context_in_use_is_taken_without_an_address(kept: dict[str, str]) -> None:
    assert where(resolve(Given(), kept)) == ("http://one", "a-token-of-one", "shop", "staging")
    named = {**kept, "TIDEGATE_CONTEXT": "two"}
    assert where(resolve(Given(), named)) == (
        "http://two",
        "a-token-of-two",
        "default",
        "production",
    )
    said = {**kept, "TIDEGATE_ENVIRONMENT": "development", "TIDEGATE_TOKEN": "another-token"}
    assert where(resolve(Given(), said)) == (
        "http://one",
        "another-token",
        "shop",
        "development",
    )


def test_an_address_leaves_the_context_out_as_a_whole(kept: dict[str, str]) -> None:
    assert where(resolve(Given(), {**kept, **URL}))[2:] == ("default", "production")
    with pytest.raises(StartupRefused, match="No token for http://elsewhere"):
        resolve(Given(url="http://elsewhere"), kept)
    with pytest.raises(StartupRefused, match="own address only"):
        resolve(Given(), {**kept, "TIDEGATE_URL": "http://elsewhere"})


def test_a_context_that_is_asked_for_goes_before_all_variables(kept: dict[str, str]) -> None:
    variables = {**kept, **URL, "TIDEGATE_PROJECT": "x", "TIDEGATE_CONTEXT": "two"}
    assert where(resolve(Given(context="one"), variables)) == (
        "http://one",
        "a-token-of-one",
        "shop",
        "staging",
    )
    with pytest.raises(StartupRefused, match="not both"):
        resolve(Given(context="one", url="http://x"), variables)


def test_an_empty_variable_is_none(kept: dict[str, str]) -> None:
    variables = {**kept, "TIDEGATE_URL": "", "TIDEGATE_TOKEN": "", "TIDEGATE_PROJECT": ""}
    assert where(resolve(Given(), variables))[0] == "http://one"


def test_nothing_named_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StartupRefused, match="set TIDEGATE_URL and TIDEGATE_TOKEN, or"):
        resolve(Given(), {"TIDEGATE_CONFIG": str(tmp_path / "none.json")})


def test_a_target_does_not_show_its_token(kept: dict[str, str]) -> None:
    target = resolve(Given(), kept)
    assert target.token not in repr(target)
    assert target.token not in repr(Contexts.of_environment(kept))


@pytest.mark.parametrize(
    "url",
    [
        *("", "localhost:8080", "ftp://x", "http://", "http://x:99999", "http://x/?a=1"),
        *("http://a:b@x", "http://127.0.0.1:1\n", "http://a b", "http://x/#a", "http://x:0"),
    ],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(StartupRefused, match=r"https://tidegate\.example\.com"):
        check_url(url)


def test_a_server_may_be_below_a_path() -> None:
    assert check_url("https://example.com/tidegate/") == "https://example.com/tidegate"


@pytest.mark.parametrize("token", ["", "  \n", "two words", "ümlaut", "a\nb"])
def test_a_token_that_is_none_is_refused_unseen(token: str) -> None:
    with pytest.raises(StartupRefused) as refused:
        check_token(token)
    assert not token.strip() or token.strip() not in refused.value.message
