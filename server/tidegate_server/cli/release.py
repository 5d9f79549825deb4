"""`tidegate release`: start releases, follow them, and act on them."""

from __future__ import annotations

import sys
from typing import Any

import click

from tidegate_server.cli.api_client import ApiClient, Json
from tidegate_server.cli.formatting import instant
from tidegate_server.cli.options import (
    Command,
    Decorator,
    decorated_with,
    environment_options,
    limit_option,
    output_option,
    reason_option,
)
from tidegate_server.cli.output import (
    JSON,
    Columns,
    print_json,
    print_list,
    print_rendered,
    print_stderr,
    print_text,
    print_warnings,
    printable,
)
from tidegate_server.cli.policy_source import create_shipped_policy
from tidegate_server.cli.preview import preview_option, show_preview
from tidegate_server.cli.release_view import open_text, reason_text, state_text, status_text
from tidegate_server.cli.resource_commands import Resource, create_command, no_items
from tidegate_server.errors import ServerRefused

STATES = (
    *("draft", "running", "baking", "holding", "awaiting_approval", "cooldown"),
    *("paused", "killed", "completed", "rolled_back"),
)
DEFAULT_LIMIT = 50
DEFAULT_LEDGER_LIMIT = 200
DEFAULT_POINTS = 30

COLUMNS: Columns = {
    "release": "id",
    "flag": "flag",
    "state": state_text,
    "stage": lambda each: f"{each['stage']['number']} of {each['stage']['of']}",
    "open to": open_text,
    "started": lambda each: instant(each["started_at"]),
    "reason": reason_text,
}

ACTIONS = {
    "begin": "Open the first stage of a draft.",
    "advance": "Open the next stage now, without waiting for the policy.",
    "approve": "Approve that a release leaves its stage.\n\n"
    "The release advances when it has the approvals that its policy requires.",
    "retry": "Start the next attempt now, without waiting for the cooldown.",
    "resume": "Resume a paused release.",
    "rollback": "Roll back a release: everyone gets the control.",
    "complete": "Complete a release now: everyone gets the treatment.",
}
"""The actions that only take a reason, with their help texts."""

PREVIEWED = ("advance", "begin", "retry", "rollback", "complete")
"""The actions of which the server can say who would get another variant."""

RESOURCE = Resource(
    name="release",
    plural="releases",
    path_prefix=ApiClient.environment_path,
    options=environment_options,
    place=" in {0.environment}",
)


@click.group()
def release() -> None:
    """Manage releases: changes that open in stages.

    RELEASE is the id of a release, or a flag for its latest release.
    """


def _started(_: ApiClient, release: Json) -> str:
    return (
        f"Release {release['id']} of flag {release['flag']} started: {status_text(release)}.\n"
        f"Watch it with `tidegate release watch {release['id']}`."
    )


def _start(client: ApiClient, path: str, body: Json, reason: str) -> Json:
    """Start a release; if its policy is missing and comes with Tidegate, offer to create it."""
    try:
        return client.post(path, body, reason)
    except ServerRefused as refused:
        name = body["policy"]
        if not _lacks_shipped_policy(client, name, refused):
            raise
        if not sys.stdin.isatty():
            raise ServerRefused(
                refused.message,
                refused.status,
                *refused.fields,
                hint=f"Tidegate comes with a policy {name!r}: create it with `tidegate policy put "
                f"{name}`",
            ) from None
    click.confirm(
        printable(
            f"Project {client.target.project} has no policy {name!r}. Create the one that comes "
            "with Tidegate?"
        ),
        abort=True,
        err=True,
    )
    print_warnings(create_shipped_policy(client, name, reason))
    print_stderr(f"Policy {name} created in project {client.target.project}.")
    return client.post(path, body, reason)


def _lacks_shipped_policy(client: ApiClient, name: str, refused: ServerRefused) -> bool:
    from tidegate_server.documents import shipped

    return (
        shipped.is_shipped(name)
        and any(field.pointer == "/policy" for field in refused.fields)
        and client.get_if_exists(client.project_path("policies", name)) is None
    )


release.add_command(
    create_command(
        RESOURCE,
        "Start the release of a variant, stage by stage.\n\nIf the project does not have the "
        "policy and it comes with Tidegate, the command offers to create it.",
        click.argument("flag"),
        click.option("--treatment", required=True, metavar="VARIANT", help="Variant to release."),
        click.option("--policy", required=True, metavar="KEY", help="Policy to follow."),
        click.option(
            "--control", metavar="VARIANT",
            help="Variant served now; the server refuses the start if it is another.",
        ),
        click.option("--rule", metavar="ID", help="Release in this rule, not in the default rule."),
        click.option(
            "--draft", is_flag=True, help="Only measure the control until `tidegate release begin`."
        ),
        name="start",
        message=_started,
        send=_start,
        preview_path=lambda client: RESOURCE.path(client, "preview"),
    )
)  # fmt: skip


@release.command("list")
@click.option("--flag", metavar="KEY", help="Only releases of this flag.")
@click.option("--state", type=click.Choice(STATES), help="Only releases in this state.")
@limit_option(DEFAULT_LIMIT)
@output_option
@environment_options
def list_releases(
    client: ApiClient, flag: str | None, state: str | None, limit: int, output: str
) -> None:
    """List releases, the latest first."""
    query = {name: value for name, value in (("flag", flag), ("state", state)) if value}
    releases = client.list(RESOURCE.path(client), limit, **query)
    print_list(
        releases.items,
        COLUMNS,
        output,
        empty=no_items(RESOURCE, client),
        more=releases.has_more,
    )


def _release_command(name: str, *options: Decorator, help: str = "") -> Decorator:
    """Add a command about one release, which its function gets as the second argument."""

    def decorate(function: Command) -> Command:
        @release.command(name, help=help or function.__doc__)
        @click.argument("release_", metavar="RELEASE")
        @decorated_with(*options, output_option, environment_options)
        def command(client: ApiClient, release_: str, **parameters: Any) -> None:
            function(client, find_release(client, release_), **parameters)

        return function

    return decorate


@_release_command(
    "show",
    click.option("--series", is_flag=True, help="Show its numbers over time instead."),
    click.option(
        "--points", type=click.IntRange(2, 500), default=DEFAULT_POINTS, show_default=True,
        help="With --series: show at most this many points in time.",
    ),
)  # fmt: skip
def show_release(client: ApiClient, release: Json, series: bool, points: int, output: str) -> None:
    """Show a release: its stage, counts, evidence and last decision.

    With --series, show how its numbers developed: the users who failed in each arm, the evidence
    of harm and of safety, and between which bounds the ratio of the arms lies.
    """
    from tidegate_server.cli.release_view import release_view
    from tidegate_server.cli.series_view import series_view

    if series:
        path = RESOURCE.path(client, release["id"], "series")
        release = client.get(path, points=str(points)).body
    if output == JSON:
        return print_json(release)
    if not series:
        return print_rendered(release_view(release))
    if not release["points"]:
        return print_stderr("No points yet: the first evaluation makes one.")
    return print_rendered(series_view(release))


@_release_command("watch")
def watch_release(client: ApiClient, release: Json, output: str) -> None:
    """Watch a release until it ends.

    If the server cannot be reached, the command waits for it. With JSON output, it prints one
    line for each change.

    Exit status 0: the release completed; 5: it was rolled back.
    """
    from tidegate_server.cli.release_watch import watch

    sys.exit(watch(client, release, as_json=output == JSON))


@_release_command("ledger", limit_option(DEFAULT_LEDGER_LIMIT))
def show_ledger(client: ApiClient, release: Json, limit: int, output: str) -> None:
    """Show every decision with its evidence, the latest last."""
    from tidegate_server.cli.release_view import ledger_view

    ledger = client.list(RESOURCE.path(client, release["id"], "ledger"), limit)
    entries = ledger.items[::-1]
    if output == JSON:
        return print_json(entries)
    if ledger.has_more:
        print_stderr(f"Showing the latest {len(entries):,}; use --limit to show more.")
    reason = reason_text(release)
    print_text(f"{release['flag']}: {status_text(release)}{f'; {reason}' if reason else ''}")
    if not entries:
        return print_stderr("No decisions yet.")
    return print_rendered(ledger_view(entries))


@_release_command("explain")
def explain_release(client: ApiClient, release: Json, output: str) -> None:
    """Explain a release: what happened, when and why."""
    from tidegate_server.cli.release_explanation import explanation_view

    explanation = client.get(RESOURCE.path(client, release["id"], "explanation")).body
    if output == JSON:
        return print_json(explanation)
    return print_rendered(explanation_view(explanation))


@_release_command("replay")
def replay_release(client: ApiClient, release: Json, output: str) -> None:
    """Recompute every decision from the evidence in the ledger.

    Exit status 0: all decisions agree with the ledger, to the last digit; 5: some differ, or
    none could be recomputed.
    """
    from tidegate_server.cli.release_replay import replay

    sys.exit(replay(client, release, as_json=output == JSON))


def _add_action(action: str, help: str, *options: Decorator) -> None:
    """Add a command that calls the action's route of the API with its options."""

    previews = [preview_option] if action in PREVIEWED else []

    @_release_command(action, *options, *previews, reason_option, help=help)
    def act(
        client: ApiClient, release: Json, output: str, preview: bool = False, **body: Any
    ) -> None:
        if preview:
            path = RESOURCE.path(client, release["id"], "preview")
            return show_preview(client, path, {"action": action}, output)
        after = client.post(RESOURCE.path(client, release["id"], action), body)
        if output == JSON:
            return print_json(after)
        return print_text(f"Release {after['id']} of flag {after['flag']}: {status_text(after)}.")


_add_action(
    "pause",
    """Pause a release until someone resumes it.

    The policy can still roll it back, unless you use --stop.
    """,
    click.option("--stop", is_flag=True, help="Full stop: prevent automatic rollbacks too."),
)
for _action, _help in ACTIONS.items():
    _add_action(_action, _help)


def find_release(client: ApiClient, name: str) -> Json:
    """Return a release by its id, or the latest release of a flag.

    Raises:
        ServerRefused: there is no such release.
    """
    not_found = ServerRefused(
        f"There is no release of a flag {name!r} in {client.target.environment} of project "
        f"{client.target.project}. List releases with `tidegate release list`.",
        404,
    )
    if name.startswith("rel_"):
        try:
            return client.get(RESOURCE.path(client, name)).body
        except ServerRefused as refused:
            if refused.status != 404:
                raise
            not_found = refused  # unless it is a flag: a flag's key may begin like this too
    latest = client.list(RESOURCE.path(client), 1, flag=name).items
    if not latest:
        if not name.startswith("rel_"):
            # The server knows what someone who mistypes a flag may have meant.
            client.get(client.environment_path("flags", name))
        raise not_found
    return latest[0]
