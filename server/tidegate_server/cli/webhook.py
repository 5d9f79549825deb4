"""`tidegate webhook`: manage webhooks, and see what was delivered to them."""

from __future__ import annotations

import sys
import time

import click

from tidegate_server.cli.api_client import ApiClient, Json
from tidegate_server.cli.exit_codes import NOT_REACHED
from tidegate_server.cli.formatting import instant, last_change
from tidegate_server.cli.history import add_history_commands
from tidegate_server.cli.options import (
    confirm,
    description_option,
    duration,
    limit_option,
    name_option,
    output_option,
    project_options,
    reason_option,
    yes_option,
)
from tidegate_server.cli.output import (
    JSON,
    Columns,
    print_json,
    print_list,
    print_stderr,
    print_text,
)
from tidegate_server.cli.put_commands import put_command
from tidegate_server.cli.resource_commands import (
    Facts,
    Resource,
    create_command,
    delete_command,
    edit_command,
    list_command,
    print_secret,
    show_command,
)

FORMATS = ("json", "slack", "teams", "discord", "email")
RECENT = 20
POLL_SECONDS = 0.1

WEBHOOK = Resource(name="webhook", plural="webhooks", read_only=("old_secret_until",))

COLUMNS: Columns = {
    "webhook": "key",
    "url": "url",
    "format": "format",
    "timeout": "timeout",
    "enabled": "enabled",
    "name": "name",
}

DELIVERY_COLUMNS: Columns = {
    "queued": lambda each: instant(each["queued_at"]),
    "event": "event",
    "flag": lambda each: each["flag"] or "",
    "release": lambda each: each["release"] or "",
    "state": lambda each: each["state"].replace("_", " "),
    "attempts": "attempts",
    "last result": lambda each: _last_result(each),
    "next attempt": lambda each: instant(each["next_attempt_at"]),
}

FORMAT_OPTION = click.option(
    "--format", type=click.Choice(FORMATS),
    help="Message format: signed JSON events, a chat's incoming webhook, or mail to "
    "mailto:ADDRESS.",
)  # fmt: skip
TIMEOUT_OPTION = click.option("--timeout", help="Timeout of a request, such as 5s or 500ms.")


def _facts(_: ApiClient, webhook: Json) -> Facts:
    return (
        ("webhook", webhook["key"]),
        ("name", webhook["name"]),
        ("description", webhook["description"]),
        ("url", webhook["url"]),
        ("format", webhook["format"]),
        ("timeout", webhook["timeout"]),
        ("enabled", webhook["enabled"]),
        ("old secret until", instant(webhook["old_secret_until"])),
        ("last change", last_change(webhook)),
    )


@click.group()
def webhook() -> None:
    """Manage webhooks: endpoints to notify or ask."""


webhook.add_command(
    list_command(
        WEBHOOK, "List webhooks.", COLUMNS, "Create one with `tidegate webhook create KEY URL`."
    )
)
webhook.add_command(show_command(WEBHOOK, "Show a webhook, without its secret.", _facts))
add_history_commands(webhook, WEBHOOK.name, WEBHOOK.path, project_options)
webhook.add_command(
    put_command(
        WEBHOOK,
        """Create or replace a webhook from a file; a webhook keeps its secret.

        FILE is YAML or JSON, such as `webhook show --output json` prints; - is standard input.
        The server refuses it if the webhook has changed since. The secret of a new webhook is
        shown only once, as the only line on standard output.
        """,
    )
)
webhook.add_command(
    delete_command(
        WEBHOOK,
        """Delete a webhook.

        The server refuses if a policy still uses the webhook. Messages in its queue are dropped.
        """,
    )
)


webhook.add_command(
    create_command(
        WEBHOOK,
        """Create a webhook and print its signing secret.

        The secret is shown only once. It is the only line on standard output, so that a script
        can capture it.
        """,
        click.argument("key"),
        click.argument("url"),
        FORMAT_OPTION,
        TIMEOUT_OPTION,
        name_option,
        description_option,
    )
)
webhook.add_command(
    edit_command(
        WEBHOOK,
        "Edit a webhook. Its secret stays the same.",
        click.option(
            "--new-url", "url", metavar="URL", help="New URL; queued messages go there too."
        ),
        FORMAT_OPTION,
        TIMEOUT_OPTION,
        click.option(
            "--enable/--disable",
            "enabled",
            default=None,
            help="Whether Tidegate sends requests to it.",
        ),
        name_option,
        description_option,
    )
)


@webhook.command("rotate")
@click.argument("key")
@reason_option
@yes_option
@output_option
@project_options
def rotate_secret(client: ApiClient, key: str, reason: str, yes: bool, output: str) -> None:
    """Replace a webhook's signing secret and print the new one.

    For one day, requests are signed with both secrets, so that you can update the receiver.
    """
    confirm(f"Replace the secret of webhook {key}{WEBHOOK.location_phrase(client)}?", yes)
    rotated = client.post(WEBHOOK.path(client, key, "rotate"), {}, reason)
    if output == JSON:
        return print_json(rotated)
    until = instant(rotated["old_secret_until"])
    return print_secret(
        f"Webhook {key} has a new secret. The old one also signs until {until}.", rotated
    )


@webhook.command("test")
@click.argument("key")
@click.option("--reason", default="", help="Text to put in the message.")
@click.option(
    "--wait", "wait_s", type=duration, default="10s", show_default=True, metavar="DURATION",
    help="How long to wait for the delivery.",
)  # fmt: skip
@output_option
@project_options
def send_test(client: ApiClient, key: str, reason: str, wait_s: float, output: str) -> None:
    """Send a test message and wait for its delivery.

    Exit status 5: the message was not delivered in time.
    """
    path = WEBHOOK.path(client, key, "deliveries")
    before = {each["id"] for each in client.list(path, RECENT).items}
    client.post(WEBHOOK.path(client, key, "test"), {"reason": reason})
    deadline = time.monotonic() + wait_s
    while True:
        recent = client.list(path, RECENT).items
        new = (each for each in recent if each["event"] == "test" and each["id"] not in before)
        delivery = next(new, {})
        settled = delivery.get("state") not in (None, "waiting")
        if settled or time.monotonic() >= deadline:
            break
        time.sleep(POLL_SECONDS)
    delivered = delivery.get("state") == "delivered"
    if output == JSON:
        print_json(delivery)
    elif delivered:
        took_ms = delivery["last_attempt"]["took_ms"]
        print_text(f"Webhook {key} accepted the message in {took_ms} ms.")
    else:
        print_stderr(f"Webhook {key} has not accepted the message: {_last_result(delivery)}.")
    if not delivered:
        sys.exit(NOT_REACHED)


def _last_result(delivery: Json) -> str:
    attempt = delivery.get("last_attempt")
    if attempt is None:
        return "not sent yet"
    return str(attempt["problem"]) or f"answered {attempt['status']}"


@webhook.command("deliveries")
@click.argument("key")
@limit_option(RECENT)
@output_option
@project_options
def list_deliveries(client: ApiClient, key: str, limit: int, output: str) -> None:
    """List a webhook's messages, sent and queued, the latest last."""
    deliveries = client.list(WEBHOOK.path(client, key, "deliveries"), limit)
    print_list(
        deliveries.items[::-1],
        DELIVERY_COLUMNS,
        output,
        empty=f"No messages for webhook {key} yet.",
        more=deliveries.has_more,
    )
