"""`tidegate login`, `logout` and `context`: save servers and tokens under a name."""

from __future__ import annotations

import os
import sys
from contextlib import closing

import click

from tidegate_server.cli.contexts import Context, Contexts
from tidegate_server.cli.options import output_option
from tidegate_server.cli.output import (
    JSON,
    Columns,
    print_facts,
    print_json,
    print_list,
    print_stderr,
    print_text,
)
from tidegate_server.cli.target import (
    DEFAULT_ENVIRONMENT,
    DEFAULT_PROJECT,
    Target,
    TargetOptions,
    check_token,
    check_url,
    resolve_target,
)
from tidegate_server.processes.settings import check_environment

OVERRIDES = ("TIDEGATE_URL", "TIDEGATE_TOKEN", "TIDEGATE_PROJECT", "TIDEGATE_ENVIRONMENT")

COLUMNS: Columns = {
    "context": "name",
    "current": "current",
    "url": "url",
    "project": "project",
    "environment": "environment",
}


@click.command()
@click.argument("name", default="default")
@click.option(
    "--url", envvar="TIDEGATE_URL", show_envvar=True, required=True, help="Server address."
)
@click.option(
    "--project", metavar="KEY", default=DEFAULT_PROJECT, show_default=True, help="Default project."
)
@click.option(
    "--environment", "-e", metavar="KEY", default=DEFAULT_ENVIRONMENT, show_default=True,
    help="Default environment.",
)  # fmt: skip
def login(name: str, url: str, project: str, environment: str) -> None:
    """Save a server and a token as context NAME.

    The new context becomes the current one. The command asks for the token, or reads it from
    standard input if that is not a terminal: other users of the machine could read it on the
    command line. Nothing is saved unless the server accepts the token.
    """
    from tidegate_server.cli.api_client import ApiClient

    check_environment(os.environ)
    address = check_url(url)
    token = check_token(_read_token())
    target = Target(address, token, project, environment, "standard input")
    with closing(ApiClient(target)) as client:
        client.get(client.environment_path())
    contexts = Contexts.read(os.environ)
    contexts.with_context(name, Context(address, token, project, environment)).write()
    print_text(
        f"Logged in to {address}.\n"
        f"Saved as context {name} ({_place(project, environment)}) in {contexts.path}."
    )
    _warn_about_overrides()


def _read_token() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("Token", hide_input=True))
    return sys.stdin.readline()


@click.command()
@click.argument("name", required=False)
def logout(name: str | None) -> None:
    """Remove a context and its token from this machine.

    Removes the current context unless you give a NAME. The token stays valid; revoke it with
    `tidegate token revoke`.
    """
    contexts = Contexts.read(os.environ)
    removed = name or contexts.current_name
    if not removed:
        return print_stderr("Nothing to remove: there is no current context.")
    contexts.get(removed)
    contexts.without(removed).write()
    return print_text(f"Context {removed} removed. Its token stays valid until you revoke it.")


@click.group()
def context() -> None:
    """Manage contexts: servers you have logged in to."""


@context.command("list")
@output_option
def list_contexts(output: str) -> None:
    """List contexts, without their tokens."""
    contexts = Contexts.read(os.environ)
    items = [
        {
            "name": name,
            "current": name == contexts.current_name,
            "url": each.url,
            "project": each.project,
            "environment": each.environment,
        }
        for name, each in sorted(contexts.by_name.items())
    ]
    empty = f"No contexts in {contexts.path}. Create one with `tidegate login`."
    print_list(items, COLUMNS, output, empty=empty)


@context.command("use")
@click.argument("name")
@click.option("--project", metavar="KEY", help="New default project.")
@click.option("--environment", "-e", metavar="KEY", help="New default environment.")
def use_context(name: str, project: str | None, environment: str | None) -> None:
    """Switch to a context, and optionally change its defaults."""
    contexts = Contexts.read(os.environ)
    saved = contexts.get(name)
    project, environment = project or saved.project, environment or saved.environment
    contexts.with_context(name, Context(saved.url, saved.token, project, environment)).write()
    print_text(f"Switched to context {name}: {saved.url} ({_place(project, environment)}).")
    _warn_about_overrides()


@context.command("show")
@click.option(
    "--context", "name", metavar="NAME",
    help="Context saved by `tidegate login`.  [TIDEGATE_CONTEXT]",
)  # fmt: skip
@output_option
def show_context(name: str | None, output: str) -> None:
    """Show which server, project and environment commands use."""
    target = resolve_target(TargetOptions(context=name), os.environ)
    shown = {
        "url": target.url,
        "project": target.project,
        "environment": target.environment,
        "token_from": target.token_from,
    }
    if output == JSON:
        return print_json(shown)
    return print_facts((field.replace("_", " "), value) for field, value in shown.items())


def _place(project: str, environment: str) -> str:
    project, environment = project or DEFAULT_PROJECT, environment or DEFAULT_ENVIRONMENT
    return f"project {project}, environment {environment}"


def _warn_about_overrides() -> None:
    set_variables = [name for name in OVERRIDES if os.environ.get(name)]
    if set_variables:
        print_stderr(f"Note: {', '.join(set_variables)} in this shell overrides every context.")
