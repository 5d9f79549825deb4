"""The command as a whole: its help, imports, errors and exit statuses."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from tidegate.version import VERSION
from tidegate_server.cli.api_client import ApiClient
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
    output = Tidegate().ok("--help")
    for name in COMMANDS:
        assert re.search(rf"^  {name} +\S", output, re.MULTILINE), name


@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        (
            ["--help"],
            ("flask", "gevent", "redis", "rich", "structlog", "tidegate", "urllib3", "yaml"),
        ),
        (["kill", "--help"], ("flask", "gevent", "redis", "rich", "structlog", "tidegate", "yaml")),
        (["serve", "--help"], ("flask", "gevent", "redis", "rich", "structlog", "tidegate")),
    ],
)
def test_a_command_imports_only_what_it_needs(
    arguments: list[str], unwanted: tuple[str, ...]
) -> None:
    code = f"""
import sys
from tidegate_server.cli import main
sys.argv = ["tidegate", *{arguments}]
try:
    main()
except SystemExit:
    print("imported:", *(name for name in {unwanted} if name in sys.modules))
"""
    result = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert result.stdout.splitlines()[-1] == "imported:"


def test_every_command_and_option_has_help() -> None:
    listed = dict(every_command())
    assert len(listed) > 40
    for arguments, command in listed.items():
        assert Tidegate().ok(*arguments, "--help").startswith("Usage: tidegate")
        assert (command.help or "").strip(), arguments
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, (arguments, parameter.name)


def test_every_command_is_in_the_documentation() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    missing = [
        " ".join(arguments) for arguments, _ in every_command() if " ".join(arguments) not in page
    ]
    assert missing == []


def test_no_command_has_two_options_of_one_name() -> None:
    for arguments, command in every_command():
        # Flags that choose one of several values share a name; each has its own value.
        names = [
            (parameter.name, getattr(parameter, "flag_value", None)) for parameter in command.params
        ]
        flags = [flag for parameter in command.params for flag in parameter.opts]
        assert len(names) == len(set(names)), arguments
        assert len(flags) == len(set(flags)), arguments


def test_no_option_takes_a_token() -> None:
    options = {
        (arguments, option)
        for arguments, command in every_command()
        for parameter in command.params
        for option in parameter.opts
        if "token" in option and not getattr(parameter, "is_flag", False)
    }
    # Commands that start a server may: all examples set these in a variable.
    assert {option for _, option in options} == {"--bootstrap-token", "--prometheus-token"}


def test_the_version_is_printed() -> None:
    assert Tidegate().ok("--version") == f"tidegate {VERSION}\n"


def test_wrong_usage_exits_with_2() -> None:
    assert "No such command" in Tidegate().refused("fly", status=2)
    assert "No such option" in Tidegate().refused("kill", "x", "--fast", status=2)
    assert "Missing argument" in Tidegate().refused("flag", "show", status=2)
    assert "Name a flag, or a tag" in Tidegate({"TIDEGATE_TOKEN": "t"}).refused(
        "kill", "--url", "http://x", status=2
    )


def test_control_characters_in_a_refusal_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    evil = "\x1b]0;owned\x07\r"

    def refuse(*_: object, **__: object) -> None:
        raise ServerRefused(f"No {evil}.", 422, FieldProblem(f"/{evil}", "Too long."))

    monkeypatch.setattr(ApiClient, "get", refuse)
    monkeypatch.setattr(ApiClient, "list", refuse)
    user = Tidegate({"TIDEGATE_URL": "http://127.0.0.1:9", "TIDEGATE_TOKEN": "a-token"})
    shown = "\\x1b]0;owned\\x07\\x0d"
    for arguments in (("flag", "list"), ("flag", "show", "checkout")):
        output = user.refused(*arguments)
        assert output == f"tidegate: No {shown}.\n  /{shown}: Too long.\n"


def test_an_unknown_setting_stops_a_command_but_not_the_kill_switch(checkout: Tidegate) -> None:
    mistaken = checkout.with_variables(TIDEGATE_ENVIROMENT="staging")
    text = "Unknown setting TIDEGATE_ENVIROMENT"
    refused = mistaken.refused("flag", "list", status=2)
    assert text in refused
    assert "Did you mean TIDEGATE_ENVIRONMENT?" in refused
    result = mistaken.run("kill", "checkout")
    assert (result.status, text in result.err) == (0, True)
    assert "killed in production" in result.out


def test_a_refusal_exits_with_3_and_an_unreachable_server_with_4(
    tidegate: Tidegate,
) -> None:
    assert "no flag 'nothing'" in tidegate.refused("flag", "show", "nothing", status=3)
    away = tidegate.with_variables(TIDEGATE_URL="http://127.0.0.1:9")
    assert "Nothing answers at http://127.0.0.1:9" in away.refused("flag", "list", status=4)


WITHOUT_A_REASON = {
    *("login", "logout", "serve", "policy-job", "context use", "policy lint", "policy simulate"),
    *("policy backtest", "evaluate", "admin recover", "code-refs scan", "code-refs remove"),
    *("code-refs push", "code-refs flags", "code-refs forget"),
    *("plan", "drift", "backup", "drill"),
    *("flag evaluations", "flag stale", "flag unknown", "kills", "receipt", "segment lookup"),
    "identity-provider test",
    *(f"change-request {verb}" for verb in ("create", "approve", "comment", "apply")),
}
"""They change nothing on a server, or give a reason of their own."""

READING = {
    *("list", "show", "watch", "ledger", "explain", "replay", "deliveries", "export", "verify"),
    *("history", "diff", "whoami", "download"),
}


def test_every_command_that_changes_something_takes_a_reason() -> None:
    for names, command in every_command():
        path = " ".join(names)
        reads = names[-1] in READING or path == "instances"
        if reads or path in WITHOUT_A_REASON:
            continue
        assert "reason" in {each.name for each in command.params}, path
