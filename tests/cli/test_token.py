"""`tidegate token`: access tokens."""

from __future__ import annotations

import os
import pty
import subprocess

import pytest

from tests.cli.calls import PROGRAM, Tidegate


def test_only_the_new_token_is_on_standard_output(tidegate: Tidegate) -> None:
    result = tidegate.run("token", "create", "ci", "--role", "writer", "--server")
    assert result.out.startswith("tg_writer_")
    assert result.out.count("\n") == 1
    assert "Token ci created: writer of the whole server, id " in result.err
    assert "it is not shown again" in result.err
    assert tidegate.with_variables(TIDEGATE_TOKEN=result.out.strip()).json("flag", "list") == []


def token_count(tidegate: Tidegate) -> int:
    return len(tidegate.json("token", "list"))


@pytest.mark.parametrize("role", ["admin", "writer", "reader"])
def test_a_token_without_a_scope_is_refused_with_the_choices(tidegate: Tidegate, role: str) -> None:
    before = token_count(tidegate)
    for scope in ((), ("--environment", "production")):
        said = tidegate.refused("token", "create", "ci", "--role", role, *scope, status=2)
        for choice in ("--project KEY for a project", "--environment KEY", "or --server"):
            assert choice in said
    assert token_count(tidegate) == before


def test_a_scope_that_contradicts_itself_is_refused(tidegate: Tidegate) -> None:
    before = token_count(tidegate)
    writer = ("token", "create", "ci", "--role", "writer", "--server")
    for part in ("--project", "--environment"):
        said = tidegate.refused(*writer, part, "production", status=2)
        assert f"{part} for a part of it. Use one of them" in said
    sdk = ("token", "create", "ci", "--role", "sdk", "--server")
    assert "valid for one environment" in tidegate.refused(*sdk, status=2)
    assert token_count(tidegate) == before


@pytest.mark.parametrize(
    ("options", "typed", "scope"),
    [
        ((), "server\n", (None, None)),
        ((), "project\n\n", ("HERE", None)),
        (("--environment", "production"), "\n", ("HERE", "production")),
    ],
)
def test_on_a_terminal_the_scope_is_asked_for(
    tidegate: Tidegate,
    options: tuple[str, ...],
    typed: str,
    scope: tuple[str | None, str | None],
) -> None:
    ours, theirs = pty.openpty()
    try:
        os.write(ours, typed.encode())
        result = subprocess.run(
            [PROGRAM, "token", "create", "ci", "--role", "writer", *options],
            env={**os.environ, **tidegate.variables},
            stdin=theirs,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    # The questions do not get into what a script captures.
    assert result.stdout.startswith("tg_writer_")
    assert result.stdout.count("\n") == 1
    (made,) = [each for each in tidegate.json("token", "list") if each["id"] in result.stdout]
    project = tidegate.variables["TIDEGATE_PROJECT"]
    assert (made["project"], made["environment"]) == (
        project if scope[0] == "HERE" else None,
        scope[1],
    )


def test_an_sdk_token_is_for_one_environment(tidegate: Tidegate) -> None:
    project = tidegate.variables["TIDEGATE_PROJECT"]
    made = tidegate.json("token", "create", "shop", "--role", "sdk")
    assert (made["project"], made["environment"]) == (project, "production")
    arguments = ("token", "create", "shop", "--role", "sdk", "--project", project)
    made = tidegate.json(*arguments, "--environment", "production")
    assert (made["project"], made["environment"]) == (project, "production")
    output = tidegate.with_variables(TIDEGATE_TOKEN=made["secret"]).refused("flag", "list")
    assert "gets evaluations only" in output
    assert "/environment" in tidegate.refused(*arguments, "--environment", "nowhere")


def test_a_client_token_may_have_a_rate_limit(tidegate: Tidegate) -> None:
    arguments = ("token", "create", "web", "--role", "client", "--rate-limit", "600")
    made = tidegate.json(*arguments)
    assert made["secret"].startswith("tg_client_")
    assert (made["environment"], made["rate_limit"]) == ("production", 600)


def test_a_project_token_is_refused_in_other_projects(tidegate: Tidegate) -> None:
    project = tidegate.variables["TIDEGATE_PROJECT"]
    arguments = ("token", "create", "r", "--role", "reader", "--project", project)
    limited = tidegate.with_variables(TIDEGATE_TOKEN=tidegate.ok(*arguments).strip())
    assert [each["key"] for each in limited.json("project", "list")] == [project]
    output = limited.refused("flag", "list", "--project", "default")
    assert f"you have it in project '{project}'" in output
    assert "The token is from TIDEGATE_TOKEN" in output


def test_tokens_are_listed_without_their_secrets(tidegate: Tidegate) -> None:
    made = tidegate.json("token", "create", "ci", "--role", "admin", "--server")
    secret = made["secret"].rpartition("_")[2]
    listed = tidegate.ok("token", "list")
    assert made["id"] in listed
    for output in (listed, tidegate.ok("token", "list", "-o", "json"), tidegate.ok("audit")):
        assert secret not in output


def test_a_token_is_revoked_after_confirmation(tidegate: Tidegate) -> None:
    id = tidegate.json("token", "create", "ci", "--role", "admin", "--server")["id"]
    output = tidegate.refused("token", "revoke", id, status=2)
    assert f"Revoke token ci (admin, {id})?" in output
    assert f"Token ci (admin, {id}) revoked." in tidegate.ok("token", "revoke", id, "--yes")
    assert "no token" in tidegate.refused("token", "revoke", id, "--yes")


def test_the_last_admin_token_cannot_be_revoked(admin: Tidegate) -> None:
    ids = [each["id"] for each in admin.json("token", "list") if each["role"] == "admin"]
    for id in ids:
        if id != "tests":
            admin.ok("token", "revoke", id, "--yes")
    assert "last token that may administer" in admin.refused("token", "revoke", "tests", "--yes")


def test_an_unknown_token_is_never_printed(tidegate: Tidegate) -> None:
    unknown = "tg_admin_0123456789ab_0123456789abcdef0123456789abcdef"
    output = tidegate.with_variables(TIDEGATE_TOKEN=unknown).refused("flag", "list")
    assert "is unknown or was deleted" in output
    assert unknown not in output
    garbled = tidegate.with_variables(TIDEGATE_TOKEN="secret secret").refused(
        "flag", "list", status=2
    )
    assert "The token contains a space at position 7" in garbled
    assert "secret secret" not in garbled


def test_a_token_has_an_owner_an_expiry_and_networks(tidegate: Tidegate) -> None:
    project = tidegate.variables["TIDEGATE_PROJECT"]
    made = tidegate.json(
        *("token", "create", "ci", "--role", "custom", "--project", project),
        *("--permission", "read", "--permission", "kill", "--owner", "team pay"),
        *("--expires-in", "90d", "--network", "127.0.0.0/8"),
    )
    assert made["permissions"] == ["read", "kill"]
    assert (made["owner"], made["networks"]) == ("team pay", ["127.0.0.0/8"])
    assert made["expires_at"] > made["created_at"]
    assert "team pay" in tidegate.ok("token", "list")
    refused = tidegate.refused("token", "create", "x", "--role", "custom", "--project", project)
    assert "List what a token with the role custom may do" in refused


def test_a_rotated_token_is_printed_alone(tidegate: Tidegate) -> None:
    project = tidegate.variables["TIDEGATE_PROJECT"]
    made = tidegate.json("token", "create", "ci", "--role", "viewer", "--project", project)
    result = tidegate.run("token", "rotate", made["id"], "--overlap", "0s", "--reason", "leaked")
    assert result.out.startswith(f"tg_viewer_{made['id']}_")
    assert result.out.count("\n") == 1
    assert "the old secret does not work any more" in result.err
    new = tidegate.with_variables(TIDEGATE_TOKEN=result.out.strip())
    assert new.json("flag", "list") == []
    old = tidegate.with_variables(TIDEGATE_TOKEN=made["secret"])
    assert "unknown or was deleted" in old.refused("flag", "list")
