"""`tidegate policy`: manage policies, and try them out."""

from __future__ import annotations

import sys
from typing import Any

import click

from tidegate_server.cli.api_client import ApiClient, Json
from tidegate_server.cli.formatting import percent
from tidegate_server.cli.history import add_history_commands, show_version
from tidegate_server.cli.number_types import (
    factor,
    per_day,
    rate,
    segment_share,
    share,
    user_activity,
)
from tidegate_server.cli.options import (
    duration,
    environment_options,
    optional_server_options,
    output_option,
    project_options,
    reason_option,
    version_option,
)
from tidegate_server.cli.output import (
    JSON,
    Columns,
    print_json,
    print_rendered,
    print_text,
    print_warnings,
)
from tidegate_server.cli.policy_source import (
    Connect,
    find_policy,
    is_file,
    policy_on_server,
    read_policy,
)
from tidegate_server.cli.resource_commands import (
    Resource,
    delete_command,
    list_command,
    writable_fields,
)

POLICY = Resource(name="policy", plural="policies")

COLUMNS: Columns = {
    "policy": "key",
    "revision": "revision",
    "stages": lambda each: ", ".join(percent(stage["percentage"]) for stage in each["stages"]),
    "interval": "interval",
    "bake": "bake",
    "name": "name",
}

SEED_OPTION = click.option(
    "--seed", type=int, default=1, show_default=True,
    help="Seed of the random numbers; the same seed repeats a run.",
)  # fmt: skip


@click.group()
def policy() -> None:
    """Manage policies: the conditions of releases."""


policy.add_command(
    list_command(POLICY, "List policies.", COLUMNS, "Create one with `tidegate policy put FILE`.")
)
add_history_commands(policy, POLICY.name, POLICY.path, project_options)
policy.add_command(
    delete_command(POLICY, "Delete a policy.\n\nReleases that have started keep their policy.")
)


@policy.command("show")
@click.argument("key")
@click.option("--shipped", is_flag=True, help="Show the built-in policy.")
@version_option
@output_option
@optional_server_options
def show_policy(
    connect: Connect, key: str, shipped: bool, revision: int | None, output: str
) -> None:
    """Show a policy.

    The policies standard, careful, hotfix and dark-launch are built in. If the
    server has no policy of such a name, the command prints the built-in one as YAML.

    You can edit the JSON and write it back with `tidegate policy put`.
    """
    from tidegate_server.cli.policy_view import policy_view
    from tidegate_server.documents import shipped as shipped_policies

    if shipped and not shipped_policies.is_shipped(key):
        names = ", ".join(shipped_policies.NAMES)
        raise click.UsageError(f"There is no built-in policy {key!r}. Choose from: {names}.")
    if revision is not None:
        client = connect()
        return show_version(client, POLICY.path(client, key), revision, output)
    document = None if shipped else policy_on_server(connect, key)
    if document is None:
        if output == JSON:
            return print_json(shipped_policies.canonical(key))
        return print_text(shipped_policies.text(key).rstrip())
    if output == JSON:
        return print_json(document)
    return print_rendered(*policy_view(document))


@policy.command("lint")
@click.argument("file")
@output_option
def lint_policy(file: str, output: str) -> None:
    """Check a policy in a file, without a server.

    Exit status 0: the policy is valid, though there may be warnings; 2: it is invalid.
    """
    from tidegate_server.cli.policy_lint import lint_file

    sys.exit(lint_file(file, as_json=output == JSON))


@policy.command("simulate")
@click.argument("policy_", metavar="POLICY")
@click.option(
    "--traffic", type=rate, required=True, metavar="RATE", help="Operations, such as 200/min."
)
@click.option(
    "--base-error", type=share, required=True, metavar="SHARE",
    help="Share of operations that fail without the change, such as 1%.",
)  # fmt: skip
@click.option(
    "--bad", type=factor, default="x3", show_default=True, metavar="FACTOR",
    help="How much more often operations fail in a bad release.",
)  # fmt: skip
@click.option(
    "--users", type=click.IntRange(min=1), metavar="N",
    help="Number of users behind the traffic.  [default: 100 for each operation a minute]",
)  # fmt: skip
@click.option(
    "--segment", "segments", type=segment_share, multiple=True, metavar="KEY=SHARE",
    help="Share of users in a segment. Repeatable.  [default: 5%]",
)  # fmt: skip
@click.option(
    "--activity", type=user_activity, metavar="KIND[:SKEW]",
    help="How unequally active users are: equal, log-normal:1 or zipf:1.  [default: equal]",
)  # fmt: skip
@click.option(
    "--day-night", type=share, metavar="SHARE",
    help="Traffic rises by this share by day (UTC) and falls by it by night.",
)  # fmt: skip
@click.option(
    "--retries", type=click.IntRange(0, 10), default=0, metavar="N",
    help="Users try a failed operation up to N times again; half of the tries fail.",
)  # fmt: skip
@click.option(
    "--outages", type=per_day, metavar="RATE",
    help="Outages of both arms, such as 2/d: 20 % errors for 10 minutes.",
)  # fmt: skip
@click.option(
    "--wobble", type=share, metavar="SHARE",
    help="The arms' error rates move apart by this much (over-dispersion), with equal means.",
)  # fmt: skip
@click.option(
    "--wobble-memory", type=click.FloatRange(0, 10_000), default=0.0, metavar="WINDOWS",
    help="A wobble lasts for about so many evaluations.  [default: one]",
)  # fmt: skip
@click.option(
    "--runs", type=click.IntRange(1, 100_000), default=200, show_default=True,
    help="Number of healthy releases, and of bad ones.",
)  # fmt: skip
@SEED_OPTION
@click.option(
    "--days", type=click.IntRange(1, 366), default=30, show_default=True,
    help="Count a release as undecided after this many days.",
)  # fmt: skip
@click.option(
    "--time-limit", type=duration, default="2m", show_default=True, metavar="DURATION",
    help="Print what is known after this time.",
)  # fmt: skip
@output_option
@optional_server_options
def simulate_policy(
    connect: Connect, policy_: str, output: str, time_limit: float, **parameters: Any
) -> None:
    """Try a policy on simulated releases.

    Shows how long a healthy release takes, how often it is stopped by mistake, how many users a
    bad release hurts, and at which stage releases do not get on.

    POLICY is a file, the key of a policy on the server, or the name of a built-in policy.
    """
    from tidegate_server.cli import policy_simulate
    from tidegate_server.cli.policy_forecast_view import print_results
    from tidegate_server.documents.lint import load_policy

    policy = load_policy(find_policy(policy_, connect))
    plan = policy_simulate.make_plan(policy, **parameters)
    print_results(plan, policy_simulate.run(plan, time_limit), as_json=output == JSON)


@policy.command("backtest")
@click.argument("policy_", metavar="POLICY")
@click.option(
    "--release", "release_", required=True, metavar="RELEASE",
    help="The id of a release, or a flag for its latest release.",
)  # fmt: skip
@click.option(
    "--runs", type=click.IntRange(1, 200), default=50, show_default=True,
    help="Number of runs, if counts have to be simulated.",
)  # fmt: skip
@click.option(
    "--statistics", type=click.IntRange(1, 2), metavar="VERSION",
    help="Version of the statistics that decides, 1 or 2.  [default: the release's own]",
)  # fmt: skip
@SEED_OPTION
@output_option
@environment_options
def backtest_policy(
    client: ApiClient, policy_: str, release_: str, output: str, **parameters: int | None
) -> None:
    """Try another policy on the recorded evidence of a release.

    Shows what the policy would have done, what it would have saved or cost, and what cannot be
    known.

    POLICY is a file, the key of a policy on the server, or the name of a built-in policy.
    """
    from tidegate_server.cli import policy_backtest
    from tidegate_server.cli.release import find_release

    selected: Json = (
        {"policy": find_policy(policy_, lambda: client)}
        if is_file(policy_)
        else {"policy_key": policy_}
    )
    backtest = client.post(
        POLICY.path(client, "backtest"),
        {
            **selected,
            "environment": client.target.environment,
            "release": find_release(client, release_)["id"],
            **parameters,
        },
    )
    if output == JSON:
        return print_json(backtest)
    return policy_backtest.print_backtest(backtest)


@policy.command("put")
@click.argument("file", type=read_policy)
@reason_option
@output_option
@project_options
def put_policy(client: ApiClient, file: Json, reason: str, output: str) -> None:
    """Create or replace a policy from a file.

    FILE is a YAML or JSON file, or the name of a built-in policy: standard, careful, hotfix or
    dark-launch.

    Releases that have started keep their policy. A file written by `policy show --output json`
    contains its revision; the server refuses it if the policy has changed since.
    """
    key, revision = file.get("key"), file.get("revision")
    if not isinstance(key, str) or not key:
        raise click.UsageError("The policy has no `key`. Add one: it is the policy's name.")
    path = POLICY.path(client, key)
    existing = client.get_if_exists(path)
    if existing is None:
        written = client.post(POLICY.path(client), writable_fields(file), reason)
        message = f"Policy {key} created{POLICY.location_phrase(client)}."
    else:
        etag = f'"{revision}"' if isinstance(revision, int) else existing.etag
        written = client.put(path, writable_fields(file), etag, reason)
        if written["revision"] == existing.body["revision"]:
            message = f"Policy {key} unchanged."
        else:
            message = (
                f"Policy {key} replaced, revision {written['revision']}. It applies to releases "
                "that start from now on."
            )
    print_warnings(written)
    if output == JSON:
        return print_json(written)
    return print_text(message)
