"""`tidegate login`, `logout` and `context`: servers kept under a name."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.cli.calls import Tidegate
from tests.cli.conftest import Served


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where contexts are kept; its folder does not exist yet."""
    return tmp_path / "own" / "contexts.json"


@pytest.fixture
def someone(file: Path) -> Tidegate:
    """Someone with no variables set but the file's name."""
    return Tidegate({"TIDEGATE_CONFIG": str(file)})


def log_in(someone: Tidegate, served: Served, *words: str) -> str:
    return someone.ok("login", *words, "--url", served.url, stdin=f"{served.token}\n")


def test_whoever_logs_in_needs_no_variables(
    someone: Tidegate, served: Served, file: Path, tidegate: Tidegate
) -> None:
    assert "No server is named" in someone.refused("flag", "list", status=2)
    project = tidegate.variables["TIDEGATE_PROJECT"]
    said = log_in(someone, served, "--project", project)
    assert "as context default: production of p-" in said
    tidegate.ok("flag", "create", "mine")
    assert [each["key"] for each in someone.json("flag", "list")] == ["mine"]


def test_only_their_owner_can_read_contexts(someone: Tidegate, served: Served, file: Path) -> None:
    log_in(someone, served)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert list(file.parent.iterdir()) == [file]
    file.chmod(0o644)
    said = someone.run("flag", "list")
    assert (said.status, "others can read" in said.err) == (0, True)
    log_in(someone, served)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_token_is_never_shown(someone: Tidegate, served: Served, file: Path) -> None:
    said = log_in(someone, served)
    for words in (("context", "list"), ("context", "show"), ("context", "list", "-o", "json")):
        said += someone.ok(*words)
    assert served.token not in said
    assert served.token in file.read_text()


def test_a_token_that_is_not_known_is_not_kept(
    someone: Tidegate, served: Served, file: Path
) -> None:
    words = ("login", "--url", served.url)
    said = someone.refused(*words, stdin="tg_admin_unknown_0123456789abcdef\n")
    assert "is unknown or was deleted" in said
    assert "from standard input" in said
    assert "No token was given" in someone.refused(*words, status=2, stdin="")
    said = someone.refused(*words, "--project", "nowhere", stdin=served.token)
    assert "no project 'nowhere'" in said
    said = someone.refused("login", "--url", "http://127.0.0.1:9", status=4, stdin=served.token)
    assert "Nothing answers" in said
    assert "no address" in someone.refused("login", "--url", "x", status=2, stdin="t")
    assert not file.exists()


def test_several_contexts_have_names(someone: Tidegate, served: Served, tidegate: Tidegate) -> None:
    project = tidegate.variables["TIDEGATE_PROJECT"]
    log_in(someone, served, "one")
    log_in(someone, served, "two", "--project", project)
    listed = someone.json("context", "list")
    assert [(each["name"], each["current"]) for each in listed] == [("one", False), ("two", True)]
    assert someone.json("context", "show")["project"] == project
    assert "Context one is in use" in someone.ok("context", "use", "one")
    assert someone.json("context", "show")["project"] == "default"
    assert someone.json("context", "show", "--context", "two")["project"] == project
    chosen = someone.having(TIDEGATE_CONTEXT="two")
    assert chosen.json("context", "show")["project"] == project
    assert "no context 'three'" in someone.refused("flag", "list", "--context", "three", status=2)


def test_a_context_is_given_another_place(someone: Tidegate, served: Served) -> None:
    log_in(someone, served)
    said = someone.ok("context", "use", "default", "--environment", "development")
    assert "development of default" in said
    assert someone.json("context", "show")["environment"] == "development"


def test_whoever_logs_out_leaves_no_token_behind(
    someone: Tidegate, served: Served, file: Path
) -> None:
    log_in(someone, served, "one")
    log_in(someone, served, "two")
    assert "Context two is forgotten" in someone.ok("logout")
    assert "nothing to forget" in someone.run("logout").err
    assert "no context 'two'" in someone.refused("logout", "two", status=2)
    someone.ok("logout", "one")
    assert served.token not in file.read_text()
    assert "No contexts" in someone.run("context", "list").err


def test_variables_that_go_first_are_mentioned(someone: Tidegate, served: Served) -> None:
    exported = someone.having(TIDEGATE_URL=served.url)
    said = exported.run("login", stdin=served.token)
    assert (said.status, "TIDEGATE_URL in this shell goes before" in said.err) == (0, True)


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"contexts": {}}', '{"current": "a", "contexts": {"a": {"url": 1}}}']
)
def test_a_file_that_holds_no_contexts_says_what_to_do(
    someone: Tidegate, file: Path, content: str
) -> None:
    file.parent.mkdir()
    file.write_text(content)
    said = someone.refused("flag", "list", status=2)
    assert "is not a file of contexts. Mend it, or remove it" in said


def test_a_file_that_cannot_be_written_says_so(served: Served, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    someone = Tidegate({"TIDEGATE_CONFIG": str(tmp_path / "file" / "contexts.json")})
    said = someone.refused("login", "--url", served.url, status=2, stdin=served.token)
    assert "TIDEGATE_CONFIG" in said or "cannot be read" in said


def test_the_file_is_one_that_programs_can_write_too(
    someone: Tidegate, served: Served, file: Path
) -> None:
    file.parent.mkdir()
    context = {"url": served.url, "token": served.token}
    file.write_text(json.dumps({"current": "a", "contexts": {"a": context}}))
    assert someone.json("context", "show")["environment"] == "production"
    someone.ok("project", "list")
