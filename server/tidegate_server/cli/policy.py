"""`tidegate policy`: what must hold before a release opens further."""

from __future__ import annotations

import sys

import click

from tidegate_server.cli.api_client import Json, Server
from tidegate_server.cli.document_fields import as_sent, tag_of
from tidegate_server.cli.number_types import rate, segment_share, share, times
from tidegate_server.cli.options import (
    confirm,
    for_environment,
    for_project,
    for_project_perhaps,
    output_option,
    yes_option,
)
from tidegate_server.cli.output import (
    JSON,
    draw,
    note,
    print_json,
    print_table,
    say,
)
from tidegate_server.cli.policy_source import (
    Reach,
    is_file,
    on_server,
    policy_document,
    policy_file,
)


@click.group()
def policy() -> None:
    """Policies: what must hold before a release opens further."""


@policy.command("list")
@output_option
@for_project
def list_policies(server: Server, output: str) -> None:
    """List the project's policies."""
    from tidegate_server.cli.formatting import percent

    found = server.list(server.project_path("policies")).items
    if output == JSON:
        return print_json(found)
    if not found:
        return note(
            f"No policies in {server.target.project}; `tidegate policy put FILE` writes one."
        )
    return print_table(
        ("policy", "revision", "stages", "interval", "bake", "name"),
        [
            (
                each["key"],
                each["revision"],
                ", ".join(percent(stage["percentage"]) for stage in each["stages"]),
                each["interval"],
                each["bake"],
                each["name"],
            )
            for each in found
        ],
    )


@policy.command("show")
@click.argument("key")
@click.option("--shipped", is_flag=True, help="The one that comes with Tidegate, not the server's.")
@output_option
@for_project_perhaps
def show_policy(reach: Reach, key: str, shipped: bool, output: str) -> None:
    """Show a policy. Its JSON can be edited and `put` again.

    Of standard, careful, hotfix and dark-launch, which come with Tidegate, the YAML is printed
    when the server has none of that name.
    """
    from tidegate_server.cli.policy_view import picture
    from tidegate_server.documents import shipped as ready_made

    if shipped and not ready_made.is_shipped(key):
        raise click.UsageError(
            f"No policy {key!r} comes with Tidegate; there are {', '.join(ready_made.NAMES)}."
        )
    found = None if shipped else on_server(reach, key)
    if found is None:
        if output == JSON:
            return print_json(ready_made.canonical(key))
        return say(ready_made.text(key).rstrip())
    if output == JSON:
        return print_json(found)
    return draw(*picture(found))


@policy.command("lint")
@click.argument("file")
@output_option
def lint_policy(file: str, output: str) -> None:
    """Explain what is wrong with a policy in a YAML or JSON FILE, without a server.

    Exit status 0: it can be carried out, with warnings at most; 2: it cannot.
    """
    from tidegate_server.cli.policy_lint import lint_file

    sys.exit(lint_file(file, as_json=output == JSON))


@policy.command("simulate")
@click.argument("policy_", metavar="POLICY")
@click.option("--traffic", type=rate, required=True, metavar="RATE", help="Such as 200/min.")
@click.option("--base-error", type=share, required=True, metavar="SHARE", help="Such as 1%.")
@click.option(
    "--bad",
    type=times,
    default="x3",
    show_default=True,
    metavar="TIMES",
    help="How many times as often a bad release fails.",
)
@click.option(
    "--users",
    type=click.IntRange(min=1),
    metavar="N",
    help="How many people make the traffic.  [100 for each operation a minute]",
)
@click.option(
    "--segment",
    "segments",
    type=segment_share,
    multiple=True,
    metavar="KEY=SHARE",
    help="How many of the users are in a segment; may be given again.  [5%]",
)
@click.option(
    "--runs",
    type=click.IntRange(1, 100_000),
    default=200,
    show_default=True,
    help="How many healthy releases, and how many bad ones.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed, other luck.")
@click.option(
    "--days",
    type=click.IntRange(1, 366),
    default=30,
    show_default=True,
    help="After so many days a release is undecided.",
)
@output_option
@for_project_perhaps
def simulate_policy(
    reach: Reach,
    policy_: str,
    traffic: float,
    base_error: float,
    bad: float,
    users: int | None,
    segments: tuple[tuple[str, float], ...],
    runs: int,
    seed: int,
    days: int,
    output: str,
) -> None:
    """Try a POLICY on simulated releases: how long a healthy one takes, how often it is stopped
    falsely, how many users a bad one hurts.

    POLICY is a file, or a key on the server, or one that comes with Tidegate.
    """
    from tidegate_server.cli import policy_simulate
    from tidegate_server.documents.lint import policy_of
    from tidegate_server.domain.policy import DAY

    document = policy_document(policy_, reach)
    planned = policy_simulate.plan(
        policy_of(document), traffic, base_error, bad, users, dict(segments), runs, seed, days * DAY
    )
    policy_simulate.show(planned, policy_simulate.run(planned), as_json=output == JSON)


@policy.command("backtest")
@click.argument("policy_", metavar="POLICY")
@click.option(
    "--release",
    "release_",
    required=True,
    metavar="RELEASE",
    help="Its id, or a flag for the flag's latest release.",
)
@click.option(
    "--runs",
    type=click.IntRange(1, 200),
    default=50,
    show_default=True,
    help="How often what has to be drawn is drawn.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed, other luck.")
@output_option
@for_environment
def backtest_policy(
    server: Server, policy_: str, release_: str, runs: int, seed: int, output: str
) -> None:
    """Run another POLICY over what a release recorded: what it would have done, what it would
    have saved or cost, and what cannot be known.

    POLICY is a file, or a key on the server, or one that comes with Tidegate.
    """
    from tidegate_server.cli import policy_backtest
    from tidegate_server.cli.release import find

    asked: Json = (
        {"policy": policy_document(policy_, lambda: server)}
        if is_file(policy_)
        else {"policy_key": policy_}
    )
    found = find(server, release_)
    answer = server.post(
        server.project_path("policies", "backtest"),
        {
            **asked,
            "environment": server.target.environment,
            "release": found["id"],
            "runs": runs,
            "seed": seed,
        },
    )
    if output == JSON:
        return print_json(answer)
    return policy_backtest.show(answer)


@policy.command("put")
@click.argument("file", type=policy_file)
@output_option
@for_project
def put_policy(server: Server, file: Json, output: str) -> None:
    """Write a policy from a YAML or JSON FILE, a new one or in place of the present one.

    FILE may also be standard, careful, hotfix or dark-launch, which come with Tidegate.

    Releases that have started keep the policy that they started under. A file that `policy
    show --output json` wrote replaces only the revision that it was read from.
    """
    key, revision = file.get("key"), file.get("revision")
    if not isinstance(key, str) or not key:
        raise click.UsageError("The policy has no `key`; it is its name.")
    at = server.project_path("policies", key)
    present = server.find(at)
    if present is None:
        after = server.post(server.project_path("policies"), as_sent(file))
        words = f"Policy {key} created in project {server.target.project}."
    else:
        tag = tag_of(revision) if isinstance(revision, int) else present.tag
        after = server.put(at, as_sent(file), tag)
        same = after["revision"] == present.body["revision"]
        words = (
            f"Policy {key} was like that already."
            if same
            else f"Policy {key} replaced, revision {after['revision']}; it counts for releases "
            "that start from now on."
        )
    if output == JSON:
        return print_json(after)
    return say(words)


@policy.command("delete")
@click.argument("key")
@yes_option
@for_project
def delete_policy(server: Server, key: str, yes: bool) -> None:
    """Delete a policy; releases that have started keep theirs."""
    confirm(f"Delete policy {key} of project {server.target.project}?", yes)
    server.delete(server.project_path("policies", key))
    say(f"Policy {key} deleted.")
