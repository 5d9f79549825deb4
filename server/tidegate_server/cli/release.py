"""`tidegate release`: starting releases, watching them, and what people may do to them."""

from __future__ import annotations

import sys

import click

from tidegate_server.cli.api_client import Json, Server
from tidegate_server.cli.options import (
    for_environment,
    limit_option,
    output_option,
    reason_option,
)
from tidegate_server.cli.output import JSON, draw, note, print_json, print_table, say
from tidegate_server.errors import ServerRefused

STATES = (
    *("draft", "running", "baking", "holding", "awaiting_approval", "cooldown"),
    *("paused", "killed", "completed", "rolled_back"),
)
DEFAULT_LIMIT = 50
DEFAULT_LEDGER_LIMIT = 200


@click.group()
def release() -> None:
    """Releases: changes of flags that open in stages.

    Where a RELEASE is asked for, give its id, or a flag for the flag's latest release.
    """


RELEASE = click.argument("release_", metavar="RELEASE")


@release.command("start")
@click.argument("flag")
@click.option("--treatment", required=True, metavar="VARIANT", help="The variant to open.")
@click.option("--policy", required=True, metavar="KEY", help="The policy to open it under.")
@click.option("--control", metavar="VARIANT", help="What is served now, to make sure of it.")
@click.option("--rule", metavar="ID", help="The rule to change, not what everyone else gets.")
@click.option("--draft", is_flag=True, help="Only measure until `tidegate release begin`.")
@reason_option
@output_option
@for_environment
def start_release(
    server: Server,
    flag: str,
    treatment: str,
    policy: str,
    control: str | None,
    rule: str | None,
    draft: bool,
    reason: str,
    output: str,
) -> None:
    """Begin to open a variant of FLAG, stage by stage, as its policy says."""
    asked = {
        "flag": flag,
        "treatment": treatment,
        "policy": policy,
        "control": control,
        "rule": rule,
        "draft": draft,
        "reason": reason,
    }
    started = server.post(server.environment_path("releases"), asked)
    if output == JSON:
        return print_json(started)
    say(f"Release {started['id']} has started: {_standing(started)}.")
    return say(f"`tidegate release watch {started['id']}` shows how it goes on.")


@release.command("list")
@click.option("--flag", metavar="KEY", help="Only those of this flag.")
@click.option("--state", type=click.Choice(STATES), help="Only those in this state.")
@limit_option(DEFAULT_LIMIT)
@output_option
@for_environment
def list_releases(
    server: Server, flag: str | None, state: str | None, limit: int, output: str
) -> None:
    """List releases, the latest first."""
    from tidegate_server.cli.formatting import audience, instant

    query = {name: value for name, value in (("flag", flag), ("state", state)) if value}
    listing = server.list(server.environment_path("releases"), limit, **query)
    if output == JSON:
        return print_json(listing.items)
    if listing.more:
        note(f"The latest {limit:,}; --limit shows more.")
    if not listing.items:
        return note(f"No releases in {server.target.environment}.")
    return print_table(
        ("release", "flag", "state", "stage", "open to", "started", "reason"),
        [
            (
                each["id"],
                each["flag"],
                each["state"],
                f"{each['stage']['number']} of {each['stage']['of']}",
                audience(each["stage"]),
                instant(each["started_at"]),
                each["reason"],
            )
            for each in listing.items
        ],
    )


@release.command("show")
@RELEASE
@output_option
@for_environment
def show_release(server: Server, release_: str, output: str) -> None:
    """Show a release: where it stands, what was counted, what was decided last."""
    from tidegate_server.cli.release_view import picture

    found = find(server, release_)
    if output == JSON:
        return print_json(found)
    return draw(picture(found))


@release.command("watch")
@RELEASE
@output_option
@for_environment
def watch_release(server: Server, release_: str, output: str) -> None:
    """Watch a release until it has ended.

    Exit status 0: it was completed; 5: it was rolled back. A server that is away meanwhile is
    waited for. With JSON, each change is a line.
    """
    from tidegate_server.cli.release_watch import watch

    sys.exit(watch(server, find(server, release_), as_json=output == JSON))


@release.command("ledger")
@RELEASE
@limit_option(DEFAULT_LEDGER_LIMIT)
@output_option
@for_environment
def show_ledger(server: Server, release_: str, limit: int, output: str) -> None:
    """Show every decision of a release with the evidence it saw, the latest last."""
    from tidegate_server.cli.release_view import ledger

    found = find(server, release_)
    at = server.environment_path("releases", found["id"], "ledger")
    listing = server.list(at, limit)
    entries = listing.items[::-1]
    if output == JSON:
        return print_json(entries)
    if listing.more:
        note(f"The latest {limit:,} decisions; --limit shows more.")
    say(": ".join(filter(None, (_standing(found), found["reason"]))))
    if not entries:
        return note("The policy job has not decided anything yet.")
    return draw(ledger(entries))


@release.command("explain")
@RELEASE
@output_option
@for_environment
def explain_release(server: Server, release_: str, output: str) -> None:
    """Tell the story of a release: who did what when, on which numbers, what is left to do."""
    from tidegate_server.cli.release_explanation import story

    found = find(server, release_)
    told = server.read(server.environment_path("releases", found["id"], "explanation")).body
    if output == JSON:
        return print_json(told)
    return draw(story(told))


@release.command("replay")
@RELEASE
@output_option
@for_environment
def replay_release(server: Server, release_: str, output: str) -> None:
    """Compute every decision of a release again, from the evidence in its ledger.

    Exit status 0: all agree with the ledger, to the last digit; 5: some differ, or none could
    be computed.
    """
    from tidegate_server.cli.release_replay import replay

    sys.exit(replay(server, find(server, release_), as_json=output == JSON))


@release.command("pause")
@RELEASE
@click.option("--stop", is_flag=True, help="A full stop: the policy shall not roll back either.")
@reason_option
@output_option
@for_environment
def pause_release(server: Server, release_: str, stop: bool, reason: str, output: str) -> None:
    """Stop opening a release further until somebody resumes it.

    The policy may still roll it back, unless --stop says otherwise.
    """
    _act(server, release_, "pause", {"reason": reason, "stop": stop}, output)


@release.command("resume")
@RELEASE
@reason_option
@output_option
@for_environment
def resume_release(server: Server, release_: str, reason: str, output: str) -> None:
    """Let a paused release go on where it was."""
    _act(server, release_, "resume", {"reason": reason}, output)


@release.command("advance")
@RELEASE
@reason_option
@output_option
@for_environment
def advance_release(server: Server, release_: str, reason: str, output: str) -> None:
    """Open a release's next stage now, without waiting for the policy."""
    _act(server, release_, "advance", {"reason": reason}, output)


@release.command("begin")
@RELEASE
@reason_option
@output_option
@for_environment
def begin_release(server: Server, release_: str, reason: str, output: str) -> None:
    """Open the first stage of a draft."""
    _act(server, release_, "begin", {"reason": reason}, output)


@release.command("approve")
@RELEASE
@reason_option
@output_option
@for_environment
def approve_release(server: Server, release_: str, reason: str, output: str) -> None:
    """Agree that a release leaves its stage, when its policy asks for that."""
    _act(server, release_, "approve", {"reason": reason}, output)


@release.command("retry")
@RELEASE
@reason_option
@output_option
@for_environment
def retry_release(server: Server, release_: str, reason: str, output: str) -> None:
    """Begin a release's next attempt now, without waiting for the end of its cooldown."""
    _act(server, release_, "retry", {"reason": reason}, output)


@release.command("rollback")
@RELEASE
@reason_option
@output_option
@for_environment
def roll_back_release(server: Server, release_: str, reason: str, output: str) -> None:
    """Close a release: everyone gets the control again."""
    _act(server, release_, "rollback", {"reason": reason}, output)


@release.command("complete")
@RELEASE
@reason_option
@output_option
@for_environment
def complete_release(server: Server, release_: str, reason: str, output: str) -> None:
    """End a release with the treatment for everyone, without waiting for the policy."""
    _act(server, release_, "complete", {"reason": reason}, output)


def _act(server: Server, name: str, action: str, asked: Json, output: str) -> None:
    release_id = find(server, name)["id"]
    after = server.post(server.environment_path("releases", release_id, action), asked)
    if output == JSON:
        return print_json(after)
    return say(f"Release {after['id']} of {_standing(after)}.")


def _standing(found: Json) -> str:
    from tidegate_server.cli.release_view import standing

    return f"{found['flag']} is {standing(found)}"


def find(server: Server, name: str) -> Json:
    """A release by its id, or the latest one of a flag.

    Raises:
        ServerRefused: there is no such one.
    """
    unknown = ServerRefused(
        f"There is no release of a flag {name!r} in {server.target.environment} of "
        f"{server.target.project}; `tidegate release list` shows those there are.",
        404,
    )
    if name.startswith("rel_"):
        try:
            return server.read(server.environment_path("releases", name)).body
        except ServerRefused as refused:
            if refused.status != 404:
                raise
            unknown = refused  # unless it is a flag, whose key may begin like this too
    latest = server.list(server.environment_path("releases"), 1, flag=name).items
    if not latest:
        raise unknown
    return latest[0]
