"""`tidegate login`, `logout` and `context`: servers kept under a name."""

from __future__ import annotations

import os
import sys
from contextlib import closing

import click

from tidegate_server.cli.contexts import Context, Contexts
from tidegate_server.cli.options import output_option
from tidegate_server.cli.output import JSON, note, print_facts, print_json, print_table, say
from tidegate_server.cli.target import (
    DEFAULT_ENVIRONMENT,
    DEFAULT_PROJECT,
    Target,
    check_token,
    check_url,
)
from tidegate_server.processes.settings import check_environment

OVERRIDING = ("TIDEGATE_URL", "TIDEGATE_TOKEN", "TIDEGATE_PROJECT", "TIDEGATE_ENVIRONMENT")


@click.command()
@click.argument("name", default="default")
@click.option(
    "--url", envvar="TIDEGATE_URL", show_envvar=True, required=True, help="The server's address."
)
@click.option("--project", default=DEFAULT_PROJECT, show_default=True, help="The usual project.")
@click.option(
    "--environment", "-e", default=DEFAULT_ENVIRONMENT, show_default=True,
    help="The usual environment.",
)  # fmt: skip
def login(name: str, url: str, project: str, environment: str) -> None:
    """Keep a server and a token under NAME, and use it from now on.

    The token is asked for, or read from standard input when that is no terminal; it is never
    given on the command line, which other users of the machine can see. The server is asked
    whether it knows the token; if not, nothing is kept.
    """
    from tidegate_server.cli.api_client import Server

    check_environment(os.environ)
    address = check_url(url)
    token = check_token(_ask_for_token())
    with closing(Server(Target(address, token, project, environment, "standard input"))) as server:
        server.read(server.environment_path())
    kept = Contexts.of_environment(os.environ)
    kept.with_context(name, Context(address, token, project, environment)).write()
    say(
        f"Logged in to {address} as context {name}: {environment} of {project}. "
        f"Kept in {kept.path}."
    )
    _warn_of_variables()


def _ask_for_token() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("Token", hide_input=True))
    return sys.stdin.readline()


@click.command()
@click.argument("name", required=False)
def logout(name: str | None) -> None:
    """Forget a context and its token.

    It is the one in use unless NAME says another.

    The token itself stays good: `tidegate token revoke` ends it.
    """
    kept = Contexts.of_environment(os.environ)
    forgotten = name or kept.current_name
    if not forgotten:
        return note("There is nothing to forget: no context is in use.")
    kept.named(forgotten)
    kept.without(forgotten).write()
    return say(f"Context {forgotten} is forgotten; its token stays good until it is revoked.")


@click.group()
def context() -> None:
    """Contexts: the servers that you have logged in to."""


@context.command("list")
@output_option
def list_contexts(output: str) -> None:
    """List the contexts, without their tokens."""
    kept = Contexts.of_environment(os.environ)
    found = [
        {
            "name": name,
            "current": name == kept.current_name,
            "url": each.url,
            "project": each.project,
            "environment": each.environment,
        }
        for name, each in sorted(kept.known.items())
    ]
    if output == JSON:
        return print_json(found)
    if not found:
        return note(f"No contexts in {kept.path}; `tidegate login` makes one.")
    return print_table(
        ("context", "in use", "url", "project", "environment"),
        [
            (each["name"], each["current"], each["url"], each["project"], each["environment"])
            for each in found
        ],
    )


@context.command("use")
@click.argument("name")
@click.option("--project", help="The usual project from now on.")
@click.option("--environment", "-e", help="The usual environment from now on.")
def use_context(name: str, project: str | None, environment: str | None) -> None:
    """Use a context from now on, and change its project or environment."""
    kept = Contexts.of_environment(os.environ)
    present = kept.named(name)
    used = Context(
        present.url,
        present.token,
        project or present.project,
        environment or present.environment,
    )
    kept.with_context(name, used).write()
    say(f"Context {name} is in use: {used.environment} of {used.project} at {used.url}.")
    _warn_of_variables()


@context.command("show")
@click.option("--context", "name", help="A context of `tidegate login`.  [TIDEGATE_CONTEXT]")
@output_option
def show_context(name: str | None, output: str) -> None:
    """Show where a command would go now, without the token."""
    from tidegate_server.cli.target import Given, resolve

    target = resolve(Given(context=name), os.environ)
    shown = {
        "url": target.url,
        "project": target.project,
        "environment": target.environment,
        "token_from": target.token_from,
    }
    if output == JSON:
        return print_json(shown)
    return print_facts((field.replace("_", " "), value) for field, value in shown.items())


def _warn_of_variables() -> None:
    set_ = [name for name in OVERRIDING if os.environ.get(name)]
    if set_:
        note(f"Note that {', '.join(set_)} in this shell goes before any context.")
