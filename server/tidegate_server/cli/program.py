"""The `tidegate` command: its groups of commands, and how errors are reported.

A command's module is imported when the command runs, so that no command waits for imports that
only another one needs. To add a group, write a module and add a line to ``SECTIONS``; to add a
command, add a function to the module of its group.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from tidegate_server.cli.exit_codes import INTERRUPTED, error_text, exit_status
from tidegate_server.cli.output import print_stderr
from tidegate_server.errors import TidegateError

SECTIONS: Mapping[str, Mapping[str, str]] = {
    "Emergency": {"kill": "kill:kill", "restore": "kill:restore"},
    "Flags and releases": {
        "flag": "flag:flag",
        "segment": "segment:segment",
        "evaluate": "evaluate:evaluate",
        "saved-context": "saved_context:saved_context",
        "policy": "policy:policy",
        "release": "release:release",
        "share": "share:share",
        "code-refs": "code_refs:code_refs",
    },
    "Activity": {
        "change-request": "change_request:change_request",
        "schedule": "schedule:schedule",
        "audit": "audit:audit",
        "instances": "instances:instances",
        "receipt": "instances:receipt",
        "kills": "kills:kills",
    },
    "Configuration as files": {
        "export": "configuration:export",
        "plan": "configuration:plan",
        "apply": "configuration:apply",
        "import": "configuration:import_",
        "drift": "configuration:drift",
    },
    "Integrations": {"webhook": "webhook:webhook", "hook": "hook:hook"},
    "Projects and access": {
        "project": "project:project",
        "environment": "project:environment",
        "person": "person:person",
        "group": "person:group",
        "role": "person:role",
        "identity-provider": "identity_provider:identity_provider",
        "token": "token:token",
        "session": "session:session",
        "whoami": "session:whoami",
        "login": "login:login",
        "logout": "login:logout",
        "context": "login:context",
    },
    "Server": {
        "serve": "serve:serve",
        "policy-job": "serve:policy_job",
        "backup": "backup:backup",
        "restore-backup": "backup:restore_backup",
        "drill": "drill:drill",
        "admin": "admin:admin",
    },
}
"""The sections of the help with their commands; each names its module and its function."""

COMMANDS = {name: path for section in SECTIONS.values() for name, path in section.items()}


class Program(click.Group):
    """The group of all commands, which imports each one when it is needed."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command; a ``TidegateError`` becomes a message and an exit status."""
        try:
            return super().main(*args, **kwargs)
        except TidegateError as error:
            print_stderr(f"tidegate: {error_text(error)}")
            sys.exit(exit_status(error))

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; Ctrl-C ends it with the usual exit status."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import a command; None if there is no such command."""
        if name not in COMMANDS:
            return None
        module, _, function = COMMANDS[name].partition(":")
        command: click.Command = getattr(import_module(f"{__package__}.{module}"), function)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands, section by section."""
        name_width = max(map(len, COMMANDS))
        help_width = formatter.width - name_width - 6
        for title, names in SECTIONS.items():
            with formatter.section(title):
                commands = ((name, self.get_command(ctx, name)) for name in names)
                formatter.write_dl(
                    [
                        (name.ljust(name_width), command.get_short_help_str(help_width))
                        for name, command in commands
                        if command is not None
                    ]
                )


def _show_version(ctx: click.Context, option: click.Parameter, requested: bool) -> None:
    if not requested:
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
    """Feature flags and progressive delivery from the command line.

    Exit status: 0 success; 1 not confirmed; 2 wrong usage or settings; 3 refused by the server;
    4 server unreachable; 5 the awaited result did not happen; 130 interrupted.
    """


def run() -> None:
    """Run the command."""
    cli.main(prog_name="tidegate")
