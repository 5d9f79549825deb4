"""The command's groups, and how its errors end.

A command's module is imported when the command is run, so that none waits for what another
one needs. A new group of commands is a module here and a line in ``SECTIONS``; a new command
is a function in its group's module.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from tidegate_server.cli.exit_codes import INTERRUPTED, sentence_of, status_of
from tidegate_server.cli.output import say
from tidegate_server.errors import TidegateError

SECTIONS: Mapping[str, Mapping[str, str]] = {
    "In an emergency": {"kill": "kill:kill", "restore": "kill:restore"},
    "Flags and releases": {
        "flag": "flag:flag",
        "segment": "segment:segment",
        "policy": "policy:policy",
        "release": "release:release",
    },
    "What happened": {"audit": "audit:audit", "instances": "instances:instances"},
    "Other systems": {"webhook": "webhook:webhook", "hook": "hook:hook"},
    "Places and access": {
        "project": "project:project",
        "environment": "project:environment",
        "token": "token:token",
        "login": "login:login",
        "logout": "login:logout",
        "context": "login:context",
    },
    "The server": {"serve": "serve:serve", "policy-job": "serve:policy_job"},
}
"""The commands by the sections of the help; each names its module and its function."""

COMMANDS = {name: where for section in SECTIONS.values() for name, where in section.items()}


class Program(click.Group):
    """A group that imports a command when it is needed, and ends errors as sentences."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run; an error is a sentence on standard error, never a traceback."""
        try:
            return super().main(*args, **kwargs)
        except TidegateError as error:
            say(f"tidegate: {sentence_of(error)}", err=True)
            sys.exit(status_of(error))

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; Ctrl-C ends it with the status that shells know."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import a command; None: there is no such one."""
        if name not in COMMANDS:
            return None
        module, _, function = COMMANDS[name].partition(":")
        command: click.Command = getattr(import_module(f"{__package__}.{module}"), function)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands section by section."""
        widest = max(map(len, COMMANDS))
        room = formatter.width - widest - 6
        for title, names in SECTIONS.items():
            with formatter.section(title):
                commands = ((name, self.get_command(ctx, name)) for name in names)
                formatter.write_dl(
                    [
                        (name.ljust(widest), command.get_short_help_str(room))
                        for name, command in commands
                        if command is not None
                    ]
                )


def _show_version(ctx: click.Context, option: click.Parameter, asked: bool) -> None:
    if not asked:
        return
    from tidegate.version import VERSION

    click.echo(f"tidegate {VERSION}")
    ctx.exit()


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version,
    help="Show the version and exit.",
)  # fmt: skip
def cli() -> None:
    """Progressive delivery inside the application: flags, releases, a kill switch.

    Exit status: 0 done, 2 not started (usage, settings), 3 refused by the server, 4 no server
    reached, 5 what was waited for or checked was not seen.
    """


def run() -> None:
    """Run the command."""
    cli.main(prog_name="tidegate")
