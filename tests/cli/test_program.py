"""The command as a whole: its help, its imports, how its errors end."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from tidegate.version import VERSION
from tidegate_server.cli.api_client import Server
from tidegate_server.cli.program import COMMANDS, cli
from tidegate_server.errors import FieldProblem, ServerRefused

from tests.cli.calls import Tidegate

ROOT = Path(__file__).resolve().parents[2]


def every_command(
    group: click.Group = cli, before: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    with click.Context(group) as ctx:
        for name in group.list_commands(ctx):
            command = group.get_command(ctx, name)
            assert command is not None
            if isinstance(command, click.Group):
                yield from every_command(command, (*before, name))
            else:
                yield (*before, name), command


def test_the_help_lists_every_command() -> None:
    said = Tidegate().ok("--help")
    for name in COMMANDS:
        assert re.search(rf"^  {name} +\S", said, re.MULTILINE), name


@pytest.mark.parametrize(
    ("words", "unwanted"),
    [
        (
            ["--help"],
            ("flask", "gevent", "redis", "rich", "structlog", "tidegate", "urllib3", "yaml"),
        ),
        (["kill", "--help"], ("flask", "gevent", "redis", "rich", "structlog", "tidegate", "yaml")),
        (["serve", "--help"], ("flask", "gevent", "redis", "rich", "structlog", "tidegate")),
    ],
)
def test_nothing_is_imported_that_a_command_does_not_need(
    words: list[str], unwanted: tuple[str, ...]
) -> None:
    code = f"""
import sys
from tidegate_server.cli import main
sys.argv = ["tidegate", *{words}]
try:
    main()
except SystemExit:
    print("imported:", *(name for name in {unwanted} if name in sys.modules))
"""
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert said.stdout.splitlines()[-1] == "imported:"


def test_every_command_explains_itself() -> None:
    listed = dict(every_command())
    assert len(listed) > 40
    for words, command in listed.items():
        assert Tidegate().ok(*words, "--help").startswith("Usage: tidegate")
        assert (command.help or "").strip(), words
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, (words, parameter.name)


def test_every_command_is_in_the_documentation() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    missing = [" ".join(words) for words, _ in every_command() if " ".join(words) not in page]
    assert missing == []


def test_no_command_uses_a_name_for_two_things() -> None:
    for words, command in every_command():
        names = [parameter.name for parameter in command.params]
        flags = [flag for parameter in command.params for flag in parameter.opts]
        assert len(names) == len(set(names)), words
        assert len(flags) == len(set(flags)), words


def test_no_option_takes_a_token() -> None:
    options = {
        (words, option)
        for words, command in every_command()
        for parameter in command.params
        for option in parameter.opts
        if "token" in option
    }
    # What starts a server may: both are told by a variable in all examples.
    assert {option for _, option in options} == {"--bootstrap-token", "--prometheus-token"}


def test_the_version_is_told() -> None:
    assert Tidegate().ok("--version") == f"tidegate {VERSION}\n"


def test_wrong_usage_ends_with_2() -> None:
    assert "No such command" in Tidegate().refused("fly", status=2)
    assert "No such option" in Tidegate().refused("kill", "x", "--fast", status=2)
    assert "Missing argument" in Tidegate().refused("kill", status=2)


def test_what_a_refusal_says_cannot_drive_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    evil = "\x1b]0;owned\x07\r"

    def refuse(*_: object) -> None:
        raise ServerRefused(f"No {evil}.", 422, FieldProblem(f"/{evil}", "Too long."))

    monkeypatch.setattr(Server, "read", refuse)
    monkeypatch.setattr(Server, "list", refuse)
    someone = Tidegate({"TIDEGATE_URL": "http://127.0.0.1:9", "TIDEGATE_TOKEN": "a-token"})
    shown = "\\x1b]0;owned\\x07\\x0d"
    for words in (("flag", "list"), ("flag", "show", "checkout")):
        said = someone.refused(*words)
        assert said == f"tidegate: No {shown}.\n  /{shown}: Too long.\n"


def test_an_unknown_setting_stops_a_command_and_not_the_kill_switch(checkout: Tidegate) -> None:
    mistaken = checkout.having(TIDEGATE_ENVIROMENT="staging")
    words = "no setting TIDEGATE_ENVIROMENT"
    refused = mistaken.refused("flag", "list", status=2)
    assert words in refused
    assert "Is TIDEGATE_ENVIRONMENT meant?" in refused
    said = mistaken.run("kill", "checkout")
    assert (said.status, words in said.err) == (0, True)
    assert "killed in production" in said.out


def test_the_exit_status_says_whether_it_was_the_server_or_its_absence(
    tidegate: Tidegate,
) -> None:
    assert "no flag 'nothing'" in tidegate.refused("flag", "show", "nothing", status=3)
    away = tidegate.having(TIDEGATE_URL="http://127.0.0.1:9")
    assert "Nothing answers at http://127.0.0.1:9" in away.refused("flag", "list", status=4)
