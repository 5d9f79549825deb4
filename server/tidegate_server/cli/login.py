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
from tidegate_server.domain.permissions import EVALUATION, Permission
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
@click.option("--url", envvar="TIDEGATE_URL", show_envvar=True, help="Server address.")
@click.option("--email", metavar="EMAIL", default="", help="Sign in with a password.")
@click.option(
    "--invitation",
    metavar="LINK",
    default="",
    help="Accept an invitation: set your name and password. The link names the server.",
)
@click.option("--name", "own_name", default="", help="With --invitation: your name.")
@click.option(
    "--expires-in",
    default="90d",
    show_default=True,
    metavar="TIME",
    help="How long you stay logged in on this machine, except with a token.",
)
@click.option(
    "--permission",
    "permissions",
    multiple=True,
    type=click.Choice([each.value for each in Permission if each not in EVALUATION]),
    help="The most that this machine may do, if you sign in through a browser; several times. By "
    "default, all that you may do.",
)
@click.option(
    "--browser/--no-browser",
    default=None,
    help="Sign in through a browser, and open it here if this machine has a screen, or only print "
    "the address.",
)
@click.option("--with-token", is_flag=True, help="Ask for a token, or read it from standard input.")
@click.option(
    "--project", metavar="KEY", default=DEFAULT_PROJECT, show_default=True, help="Default project."
)
@click.option(
    "--environment", "-e", metavar="KEY", default=DEFAULT_ENVIRONMENT, show_default=True,
    help="Default environment.",
)  # fmt: skip
def login(
    name: str,
    url: str | None,
    email: str,
    invitation: str,
    own_name: str,
    expires_in: str,
    permissions: tuple[str, ...],
    browser: bool | None,
    with_token: bool,
    project: str,
    environment: str,
) -> None:
    """Save a server and a token as context NAME.

    The new context becomes the current one. The command shows a code, which you approve in a
    browser, and gets a token of your own for this machine. With --email or --invitation, it asks
    for your password instead; with --with-token, or if standard input is not a terminal, for a
    token. It reads either from standard input if that is not a terminal: other users of the machine
    could read it on the command line. Nothing is saved unless the server accepts it.
    """
    from tidegate_server.cli import browser_sign_in, sign_in
    from tidegate_server.cli.api_client import ApiClient

    check_environment(os.environ)
    address = check_url(_address(url, invitation))
    stranger = Target(address, "", project, environment, "the sign-in")
    _check_one_way(email, invitation, browser, with_token)
    if invitation:
        made = sign_in.token_by_invitation(stranger, invitation, email, own_name, expires_in)
    elif email:
        made = sign_in.token_by_password(stranger, email, expires_in)
    elif browser is not None or (sys.stdin.isatty() and not with_token):
        made = browser_sign_in.token_by_browser(
            stranger, expires_in, permissions, open_browser=browser is not False
        )
    else:
        made = {"secret": check_token(_read_token()), "owner": ""}
        target = Target(address, made["secret"], project, environment, "standard input")
        with closing(ApiClient(target)) as client:
            client.get(client.environment_path())
    token, who = str(made["secret"]), made["owner"]
    contexts = Contexts.read(os.environ)
    contexts.with_context(name, Context(address, token, project, environment)).write()
    print_text(
        f"Logged in to {address}{f' as {who}' if who else ''}.\n"
        f"Saved as context {name} ({_place(project, environment)}) in {contexts.path}."
    )
    _warn_about_overrides()


def _check_one_way(email: str, invitation: str, browser: bool | None, with_token: bool) -> None:
    """Check that the options name one way to sign in; raises ``click.UsageError``."""
    named = {
        "--email": bool(email) and not invitation,  # an invitation needs the first person's email
        "--invitation": bool(invitation),
        "--browser or --no-browser": browser is not None,
        "--with-token": with_token,
    }
    ways = [option for option, is_named in named.items() if is_named]
    if len(ways) > 1:
        raise click.UsageError(f"Give one of {', '.join(ways)}.")


def _address(url: str | None, invitation: str) -> str:
    """Return the server's address: as given, or the one in the link of an invitation.

    Raises:
        click.UsageError: neither names it.
    """
    if url:
        return url
    server, path, _ = invitation.partition("/invitation#")
    if not path:
        raise click.UsageError("Name the server with --url or TIDEGATE_URL.")
    return server


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
        names = " and ".join(set_variables)
        verb = "overrides" if len(set_variables) == 1 else "override"
        print_stderr(f"Note: {names} in this shell {verb} every context.")
