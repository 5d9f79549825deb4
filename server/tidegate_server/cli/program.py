"""The command's groups, its options for reaching a server, and how its errors end."""

from __future__ import annotations

import sys

import click
from tidegate.version import VERSION

from tidegate_server.cli import serve
from tidegate_server.errors import StartupRefused, TidegateError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="tidegate")
def cli() -> None:
    """Progressive delivery inside the application: flags, releases, a kill switch."""


cli.add_command(serve.serve)
cli.add_command(serve.policy_job)


def run() -> None:
    """Run the command; an error is a sentence on standard error, never a traceback."""
    try:
        cli(standalone_mode=True)
    except TidegateError as error:
        click.echo(f"tidegate: {error.message}", err=True)
        sys.exit(2 if isinstance(error, StartupRefused) else 3)
