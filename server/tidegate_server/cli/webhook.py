"""`tidegate webhook`: whom policies tell what happened, and whom they ask before they go on."""

from __future__ import annotations

import sys
import time

import click

from tidegate_server.cli.api_client import Json, Server
from tidegate_server.cli.document_fields import as_sent, given
from tidegate_server.cli.exit_codes import NOT_SEEN
from tidegate_server.cli.options import (
    confirm,
    duration,
    for_project,
    limit_option,
    output_option,
    yes_option,
)
from tidegate_server.cli.output import (
    JSON,
    note,
    print_changed,
    print_facts,
    print_json,
    print_table,
    say,
)

FORMATS = ("json", "slack")
SET_BY_SERVER = ("old_secret_until",)
RECENT = 20
LOOK_SECONDS = 0.1

FORMAT_OPTION = click.option(
    "--format", "format_", type=click.Choice(FORMATS),
    help="json: signed events; slack: a text for an incoming webhook.",
)  # fmt: skip
TIMEOUT_OPTION = click.option("--timeout", help="How long a request may take, 5s or 500ms.")
NAME_OPTION = click.option("--name", help="For people.")
DESCRIPTION_OPTION = click.option("--description", help="For people.")


@click.group()
def webhook() -> None:
    """Webhooks: whom policies tell what happened, and whom they ask before they go on."""


@webhook.command("list")
@output_option
@for_project
def list_webhooks(server: Server, output: str) -> None:
    """List the project's webhooks."""
    found = server.list(server.project_path("webhooks")).items
    if output == JSON:
        return print_json(found)
    if not found:
        return note(
            f"No webhooks in {server.target.project}; `tidegate webhook create KEY URL` makes one."
        )
    return print_table(
        ("webhook", "url", "format", "timeout", "enabled", "name"),
        [
            (
                each["key"],
                each["url"],
                each["format"],
                each["timeout"],
                each["enabled"],
                each["name"],
            )
            for each in found
        ],
    )


@webhook.command("show")
@click.argument("key")
@output_option
@for_project
def show_webhook(server: Server, key: str, output: str) -> None:
    """Show a webhook, without its secret."""
    from tidegate_server.cli.formatting import instant

    found = server.read(server.project_path("webhooks", key)).body
    if output == JSON:
        return print_json(found)
    return print_facts(
        (
            ("webhook", key),
            ("name", found["name"]),
            ("description", found["description"]),
            ("url", found["url"]),
            ("format", found["format"]),
            ("timeout", found["timeout"]),
            ("enabled", found["enabled"]),
            ("old secret until", instant(found["old_secret_until"])),
            ("changed", f"{instant(found['updated_at'])}, revision {found['revision']}"),
        )
    )


@webhook.command("create")
@click.argument("key")
@click.argument("url")
@FORMAT_OPTION
@TIMEOUT_OPTION
@NAME_OPTION
@DESCRIPTION_OPTION
@output_option
@for_project
def create_webhook(
    server: Server,
    key: str,
    url: str,
    format_: str | None,
    timeout: str | None,
    name: str | None,
    description: str | None,
    output: str,
) -> None:
    """Create the webhook KEY at URL and print its signing secret, this once.

    The secret alone goes to standard output, so that a program can take it.
    """
    asked = given(
        key=key, url=url, format=format_, timeout=timeout, name=name, description=description
    )
    made = server.post(server.project_path("webhooks"), asked)
    if output == JSON:
        return print_json(made)
    note(f"Webhook {key} created in project {server.target.project}; policies name it by its key.")
    return _print_secret(made)


@webhook.command("edit")
@click.argument("key")
@click.option("--at", "url", metavar="URL", help="Another address; what is waiting goes there.")
@FORMAT_OPTION
@TIMEOUT_OPTION
@click.option("--enable/--disable", "enabled", default=None, help="Whether it is told and asked.")
@NAME_OPTION
@DESCRIPTION_OPTION
@output_option
@for_project
def edit_webhook(
    server: Server,
    key: str,
    url: str | None,
    format_: str | None,
    timeout: str | None,
    enabled: bool | None,
    name: str | None,
    description: str | None,
    output: str,
) -> None:
    """Change a webhook; its secret stays."""
    changes = given(
        url=url,
        format=format_,
        timeout=timeout,
        enabled=enabled,
        name=name,
        description=description,
    )
    if not changes:
        raise click.UsageError(
            "Say what to change: --at, --format, --timeout, --enable, --disable, --name, "
            "--description."
        )
    edited = server.edit(
        server.project_path("webhooks", key),
        lambda document: {**as_sent(document, *SET_BY_SERVER), **changes},
    )
    print_changed(f"Webhook {key}", edited, output)


@webhook.command("rotate")
@click.argument("key")
@yes_option
@output_option
@for_project
def rotate_secret(server: Server, key: str, yes: bool, output: str) -> None:
    """Give a webhook another signing secret and print it, this once.

    The present secret signs along for a day, so that the receiver can follow.
    """
    from tidegate_server.cli.formatting import instant

    confirm(f"Give webhook {key} of project {server.target.project} another secret?", yes)
    made = server.post(server.project_path("webhooks", key, "rotate"), {})
    if output == JSON:
        return print_json(made)
    note(f"The old secret of webhook {key} signs along until {instant(made['old_secret_until'])}.")
    return _print_secret(made)


@webhook.command("test")
@click.argument("key")
@click.option("--reason", default="", help="Words that the message has.")
@click.option(
    "--wait", "wait_s", type=duration, default="10s", show_default=True, metavar="SPAN",
    help="How long to wait until it is delivered.",
)  # fmt: skip
@output_option
@for_project
def try_webhook(server: Server, key: str, reason: str, wait_s: float, output: str) -> None:
    """Send a webhook a message whose event is `test`, and tell whether it arrived."""
    at = server.project_path("webhooks", key, "deliveries")
    before = {each["id"] for each in server.list(at, RECENT).items}
    server.post(server.project_path("webhooks", key, "test"), {"reason": reason})
    until = time.monotonic() + wait_s
    while True:
        found = next((each for each in server.list(at, RECENT).items if _is_new(each, before)), {})
        settled = found.get("state") not in (None, "waiting")
        if settled or time.monotonic() >= until:
            break
        time.sleep(LOOK_SECONDS)
    if output == JSON:
        print_json(found)
    elif found.get("state") == "delivered":
        say(f"Webhook {key} took the message in {found['last_attempt']['took_ms']} ms.")
    else:
        note(f"Webhook {key} has not taken the message yet: {_outcome(found)}.")
    if found.get("state") != "delivered":
        sys.exit(NOT_SEEN)


def _is_new(message: Json, before: set[str]) -> bool:
    return message["event"] == "test" and message["id"] not in before


def _outcome(message: Json) -> str:
    last = message.get("last_attempt")
    if last is None:
        return "no policy job has tried it"
    return str(last["problem"]) or f"answered {last['status']}"


@webhook.command("deliveries")
@click.argument("key")
@limit_option(RECENT)
@output_option
@for_project
def list_deliveries(server: Server, key: str, limit: int, output: str) -> None:
    """Show what a webhook was told and what waits for it, the latest last."""
    from tidegate_server.cli.formatting import instant

    listing = server.list(server.project_path("webhooks", key, "deliveries"), limit)
    found = listing.items[::-1]
    if output == JSON:
        return print_json(found)
    if not found:
        return note(f"Webhook {key} was told nothing yet.")
    if listing.more:
        note(f"The latest {limit:,}; --limit shows more.")
    return print_table(
        ("queued", "event", "release", "state", "attempts", "the last one", "next"),
        [
            (
                instant(each["queued_at"]),
                each["event"],
                each["release"] or "",
                each["state"].replace("_", " "),
                each["attempts"],
                _outcome(each),
                instant(each["next_attempt_at"]),
            )
            for each in found
        ],
    )


@webhook.command("delete")
@click.argument("key")
@yes_option
@for_project
def delete_webhook(server: Server, key: str, yes: bool) -> None:
    """Delete a webhook that no policy names; what waits for it is dropped."""
    confirm(f"Delete webhook {key} of project {server.target.project}?", yes)
    server.delete(server.project_path("webhooks", key))
    say(f"Webhook {key} deleted.")


def _print_secret(made: Json) -> None:
    note("Requests are signed with this secret. It is shown this once:")
    say(made["secret"])
