"""`tidegate flag promote` and `tidegate flag copy`."""

from __future__ import annotations

import sys

import click

from tidegate_server.cli.api_client import ApiClient, Json
from tidegate_server.cli.exit_codes import REFUSED
from tidegate_server.cli.formatting import count
from tidegate_server.cli.options import (
    confirm,
    output_option,
    project_options,
    reason_option,
    yes_option,
)
from tidegate_server.cli.output import JSON, print_json, print_stderr, print_text


@click.command("promote")
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
@click.option(
    "--from", "source", metavar="ENVIRONMENT", required=True, help="Serve what is served there."
)
@click.option("--to", "target", metavar="ENVIRONMENT", required=True, help="Serve it here.")
@click.option("--plan", "plan_only", is_flag=True, help="Only show what would change.")
@reason_option
@yes_option
@output_option
@project_options
def promote(
    client: ApiClient,
    keys: tuple[str, ...],
    source: str,
    target: str,
    plan_only: bool,
    reason: str,
    yes: bool,
    output: str,
) -> None:
    """Let flags serve in one environment what they serve in another, all of them or none.

    Shows what differs and who is affected, and asks. Rules, prerequisites, the default, the off and
    the kill variant are copied, and whether a flag is enabled. A kill and a release stay where they
    are. If anything changes after it was shown, nothing is promoted.
    """
    path = client.project_path("environments", target, "promote")
    body = {"from": source, "flags": list(keys)}
    plan = client.compute(f"{path}?plan=true", body)
    if plan_only and output == JSON:
        return print_json(plan)
    if output != JSON:
        _print_plan(plan)
    if plan_only:
        return None
    if any(each["problems"] for each in plan["flags"]):
        print_stderr("Nothing was promoted.")
        sys.exit(REFUSED)
    if not any(each["changes"] for each in plan["flags"]):
        return print_stderr(f"{target} serves the same as {source} already.")
    confirm(f"Promote this from {source} to {target}?", yes)
    revisions = {each["flag"]: each["revisions"] for each in plan["flags"]}
    promoted = client.post(path, {**body, "revisions": revisions}, reason)
    if output == JSON:
        return print_json(promoted)
    return print_text(f"Promoted from {source} to {target}: {', '.join(keys)}.")


def _print_plan(plan: Json) -> None:
    for each in plan["flags"]:
        notes = ["stays killed"] if each["killed"] else []
        notes += [f"release {each['release']} goes on"] if each["release"] else []
        rate = each["evaluated"]["per_minute"]
        notes += [f"asked for about {rate:,.0f} times a minute"] if rate >= 1 else []
        noted = ", ".join(notes)
        what = "" if each["changes"] else " nothing differs"
        print_text(f"{each['flag']}:{what}{f' ({noted})' if notes else ''}")
        for change in each["changes"]:
            print_text(f"  {change['text']}")
        for problem in each["problems"]:
            at = f"{problem['pointer']}: " if problem["pointer"] else ""
            print_stderr(f"  cannot be promoted: {at}{problem['detail']}")
    print_text(f"{plan['to']} is used by {count(plan['live_instances'], 'live instance')}.")
    if plan["preview"] is not None:
        print_text(plan["preview"]["text"])


@click.command("copy")
@click.argument("key")
@click.argument("new_key")
@click.option("--name", help="Name of the new flag.")
@click.option(
    "--same-buckets",
    is_flag=True,
    help="Users get the same sides of splits as with the other flag.",
)
@reason_option
@output_option
@project_options
def copy(
    client: ApiClient,
    key: str,
    new_key: str,
    name: str | None,
    same_buckets: bool,
    reason: str,
    output: str,
) -> None:
    """Create a flag that serves in every environment what another one serves.

    A kill, a release and an archive are not copied.
    """
    body = {"key": new_key, "name": name, "same_buckets": same_buckets}
    made = client.post(client.project_path("flags", key, "copy"), body, reason)
    if output == JSON:
        return print_json(made)
    return print_text(f"Flag {new_key} created like {key} in project {client.target.project}.")
