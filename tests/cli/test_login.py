"""`tidegate login`, `logout` and `context`: saved servers and tokens."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.cli.calls import Tidegate
from tests.cli.conftest import RunningServer


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The path of the contexts file, in a folder that does not exist yet."""
    return tmp_path / "own" / "contexts.json"


@pytest.fixture
def user(file: Path) -> Tidegate:
    """A user whose only variable names the contexts file."""
    return Tidegate({"TIDEGATE_CONFIG": str(file)})


def log_in(user: Tidegate, server: RunningServer, *arguments: str) -> str:
    return user.ok("login", *arguments, "--url", server.url, stdin=f"{server.token}\n")


def test_commands_use_the_context_of_the_login(
    user: Tidegate, server: RunningServer, file: Path, tidegate: Tidegate
) -> None:
    assert "No server is selected" in user.refused("flag", "list", status=2)
    project = tidegate.variables["TIDEGATE_PROJECT"]
    output = log_in(user, server, "--project", project)
    assert f"as context default (project {project}, environment production)" in output
    tidegate.ok("flag", "create", "mine")
    assert [each["key"] for each in user.json("flag", "list")] == ["mine"]


def test_only_the_owner_can_read_the_contexts_file(
    user: Tidegate, server: RunningServer, file: Path
) -> None:
    log_in(user, server)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert list(file.parent.iterdir()) == [file]
    file.chmod(0o644)
    result = user.run("flag", "list")
    assert (result.status, "others can read" in result.err) == (0, True)
    log_in(user, server)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_token_is_never_printed(user: Tidegate, server: RunningServer, file: Path) -> None:
    output = log_in(user, server)
    for arguments in (("context", "list"), ("context", "show"), ("context", "list", "-o", "json")):
        output += user.ok(*arguments)
    assert server.token not in output
    assert server.token in file.read_text()


def test_a_failed_login_saves_nothing(user: Tidegate, server: RunningServer, file: Path) -> None:
    arguments = ("login", "--url", server.url)
    output = user.refused(*arguments, stdin="tg_admin_unknown_0123456789abcdef\n")
    assert "is unknown or was deleted" in output
    assert "from standard input" in output
    assert "No token was given" in user.refused(*arguments, status=2, stdin="")
    output = user.refused(*arguments, "--project", "nowhere", stdin=server.token)
    assert "no project 'nowhere'" in output
    output = user.refused("login", "--url", "http://127.0.0.1:9", status=4, stdin=server.token)
    assert "Nothing answers" in output
    assert "is not the address of a server" in user.refused(
        "login", "--url", "x", status=2, stdin="t"
    )
    assert not file.exists()


def test_several_contexts_are_saved_by_name(
    user: Tidegate, server: RunningServer, tidegate: Tidegate
) -> None:
    project = tidegate.variables["TIDEGATE_PROJECT"]
    log_in(user, server, "one")
    log_in(user, server, "two", "--project", project)
    listed = user.json("context", "list")
    assert [(each["name"], each["current"]) for each in listed] == [("one", False), ("two", True)]
    assert user.json("context", "show")["project"] == project
    assert "Switched to context one" in user.ok("context", "use", "one")
    assert user.json("context", "show")["project"] == "default"
    assert user.json("context", "show", "--context", "two")["project"] == project
    chosen = user.with_variables(TIDEGATE_CONTEXT="two")
    assert chosen.json("context", "show")["project"] == project
    assert "no context 'three'" in user.refused("flag", "list", "--context", "three", status=2)


def test_context_use_changes_the_default_environment(user: Tidegate, server: RunningServer) -> None:
    log_in(user, server)
    output = user.ok("context", "use", "default", "--environment", "development")
    assert "project default, environment development" in output
    assert user.json("context", "show")["environment"] == "development"


def test_logout_removes_the_token(user: Tidegate, server: RunningServer, file: Path) -> None:
    log_in(user, server, "one")
    log_in(user, server, "two")
    assert "Context two removed" in user.ok("logout")
    assert "Nothing to remove" in user.run("logout").err
    assert "no context 'two'" in user.refused("logout", "two", status=2)
    user.ok("logout", "one")
    assert server.token not in file.read_text()
    assert "No contexts" in user.run("context", "list").err


def test_login_warns_about_variables_that_override_it(
    user: Tidegate, server: RunningServer
) -> None:
    exported = user.with_variables(TIDEGATE_URL=server.url)
    result = exported.run("login", stdin=server.token)
    assert (result.status, "TIDEGATE_URL in this shell overrides" in result.err) == (0, True)


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"contexts": {}}', '{"current": "a", "contexts": {"a": {"url": 1}}}']
)
def test_a_malformed_contexts_file_is_refused(user: Tidegate, file: Path, content: str) -> None:
    file.parent.mkdir()
    file.write_text(content)
    output = user.refused("flag", "list", status=2)
    assert "is not a contexts file. Fix it, or remove it" in output


def test_a_contexts_file_that_cannot_be_written_is_refused(
    server: RunningServer, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    user = Tidegate({"TIDEGATE_CONFIG": str(tmp_path / "file" / "contexts.json")})
    output = user.refused("login", "--url", server.url, status=2, stdin=server.token)
    assert "TIDEGATE_CONFIG" in output or "Cannot read" in output


def test_a_contexts_file_may_leave_out_project_and_environment(
    user: Tidegate, server: RunningServer, file: Path
) -> None:
    file.parent.mkdir()
    context = {"url": server.url, "token": server.token}
    file.write_text(json.dumps({"current": "a", "contexts": {"a": context}}))
    assert user.json("context", "show")["environment"] == "production"
    user.ok("project", "list")
