"""`tidegate kill` and `tidegate restore`: the kill switch of a flag, or of all flags with a tag.

These commands are used when other things are broken, so they depend on as little as possible:
no rich, no file besides the contexts file.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import click

from tidegate_server.cli.api_client import ApiClient, Json
from tidegate_server.cli.exit_codes import INTERRUPTED, NOT_REACHED
from tidegate_server.cli.formatting import milliseconds
from tidegate_server.cli.options import (
    duration,
    kill_switch_options,
    output_option,
    reason_option,
)
from tidegate_server.cli.output import JSON, print_json, print_stderr, print_text
from tidegate_server.errors import TidegateError

POLL_SECONDS = 0.1
MAX_INSTANCES_NAMED = 10


URL_OPTION = click.option("--link", default="", metavar="URL", help="A link to the incident.")


@click.command()
@click.argument("flag", required=False, default="")
@click.option("--tag", default="", help="Kill every flag with this tag instead, all at once.")
@reason_option
@URL_OPTION
@click.option(
    "--wait", type=duration, default="10s", show_default=True, metavar="DURATION",
    help="How long to wait until every live instance has applied it; 0s: do not wait.",
)  # fmt: skip
@output_option
@kill_switch_options
def kill(
    client: ApiClient, flag: str, tag: str, reason: str, link: str, wait: float, output: str
) -> None:
    """Kill a flag, or all flags with a tag: everyone gets the kill variant at once.

    A release of the flag stops. The command then waits until every live instance has applied
    the kill, and prints how long that took. `tidegate restore` ends the kill.

    Exit status 5: the kill is in force, but a live instance has not applied it in time.
    """
    started = time.monotonic()
    body = {"reason": reason, **({"url": link} if link else {})}
    if _is_tag(flag, tag):
        return _kill_tagged(client, {"tag": tag, **body}, started + wait if wait else None, output)
    path = client.environment_path("flags", flag)
    killed = client.post(f"{path}/kill", body)
    if output != JSON:
        print_text(_killed_text(client, killed))
    latest = _wait_for_receipt(client, path, killed, started + wait) if wait else killed
    if output == JSON:
        print_json(latest)
    else:
        print_text(_receipt_text(latest, waited=wait > 0))
    if wait and not _applied_everywhere(latest):
        receipt = latest["receipt"]
        _print_waiting_instances(client, receipt["waiting"] if receipt else [])
        sys.exit(NOT_REACHED)
    return None


@click.command()
@click.argument("flag", required=False, default="")
@click.option("--tag", default="", help="Restore every flag that was killed with this tag instead.")
@reason_option
@URL_OPTION
@output_option
@kill_switch_options
def restore(client: ApiClient, flag: str, tag: str, reason: str, link: str, output: str) -> None:
    """Restore a killed flag, or all flags that were killed with a tag.

    A release that the kill stopped stays paused until you resume it.
    """
    body = {"reason": reason, **({"url": link} if link else {})}
    if _is_tag(flag, tag):
        answer = client.post(client.environment_path("restore"), {"tag": tag, **body})
        if output == JSON:
            return print_json(answer)
        return print_text(
            f"Restored in {_place(client)}: {', '.join(answer['flags'])}. Their releases are "
            "paused."
        )
    restored = client.post(client.environment_path("flags", flag, "restore"), body)
    if output == JSON:
        return print_json(restored)
    print_text(f"Flag {flag} restored in {_place(client)}.")
    if restored["release"]:
        resume = f"`tidegate release resume {restored['release']}`"
        print_text(f"Its release is paused. Continue it with {resume}.")
    return None


def _is_tag(flag: str, tag: str) -> bool:
    """Return whether a tag is named; raises ``click.UsageError`` unless it is that or a flag."""
    if bool(flag) == bool(tag):
        raise click.UsageError("Name a flag, or a tag with --tag.")
    return bool(tag)


def _kill_tagged(client: ApiClient, body: Json, deadline: float | None, output: str) -> None:
    """Kill the flags with a tag, and wait for the receipt of the version that has the kill."""
    killed = client.post(client.environment_path("kill"), body)
    if output != JSON:
        flags = killed["flags"]
        these = f"{len(flags)} flags" if len(flags) > 1 else "1 flag"
        print_text(f"Killed {these} in {_place(client)}: {', '.join(flags)}.")
    if deadline is None:
        return print_json(killed) if output == JSON else None
    path = client.environment_path("receipts", str(killed["version"]))
    receipt = _latest_until(client, path, deadline, lambda each: not each["waiting"])
    if output == JSON:
        print_json({**killed, "receipt": receipt})
    else:
        print_text(_applied_text(receipt, waited=True))
    if receipt["waiting"]:
        _print_waiting_instances(client, [each["id"] for each in receipt["waiting"]])
        sys.exit(NOT_REACHED)
    return None


def _wait_for_receipt(client: ApiClient, path: str, killed: Json, deadline: float) -> Json:
    if _applied_everywhere(killed):
        return killed
    return _latest_until(client, path, deadline, _applied_everywhere)


def _latest_until(
    client: ApiClient, path: str, deadline: float, complete: Callable[[Json], bool]
) -> Json:
    """Return what a path answers as soon as it is complete, or at the deadline."""
    try:
        latest: Json = client.get(path).body
        while not complete(latest) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
            latest = client.get(path).body
    except TidegateError as error:
        print_stderr(
            f"tidegate: The kill is in force, but its receipt cannot be read: {error.message}"
        )
        sys.exit(NOT_REACHED)
    except KeyboardInterrupt:
        print_stderr("tidegate: The kill is in force. Stopped waiting for its receipt.")
        sys.exit(INTERRUPTED)
    return latest


def _applied_everywhere(targeting: Json) -> bool:
    receipt = targeting["receipt"]
    return receipt is not None and receipt["applied"] >= receipt["live"]


def _killed_text(client: ApiClient, killed: Json) -> str:
    variant = killed["kill_variant"] or killed["off_variant"]
    text = f"Flag {killed['flag']} killed in {_place(client)}: everyone gets {variant}."
    if killed["release"]:
        text += f" Its release {killed['release']} is stopped."
    return text


def _receipt_text(targeting: Json, *, waited: bool) -> str:
    receipt = targeting["receipt"]
    if receipt is None:
        return "Someone has restored the flag in the meantime."
    return _applied_text(receipt, waited=waited or _applied_everywhere(targeting))


def _applied_text(receipt: Json, *, waited: bool) -> str:
    if receipt["live"] == 0:
        return "There are no live instances that could confirm the kill."
    so_far = "" if waited else " so far"
    text = f"Applied by {receipt['applied']} of {receipt['live']} live instances{so_far}"
    if receipt["median_ms"] is not None:
        times = (("median", "median_ms"), ("95 %", "p95_ms"), ("slowest", "slowest_ms"))
        text += ": " + ", ".join(f"{name} {milliseconds(receipt[field])}" for name, field in times)
    return f"{text}."


def _print_waiting_instances(client: ApiClient, waiting: list[str]) -> None:
    """Print which instances have not applied the kill, to standard error."""
    if not waiting:
        return
    known: dict[str, Json] = {}
    try:
        items = client.list(client.environment_path("instances")).items
        known = {each["id"]: each for each in items}
    except TidegateError:
        pass  # the ids alone are better than nothing
    print_stderr("tidegate: The kill is in force, but these instances have not applied it yet:")
    for id in waiting[:MAX_INSTANCES_NAMED]:
        print_stderr(f"  {id}{_process_text(known[id]) if id in known else ''}")
    if len(waiting) > MAX_INSTANCES_NAMED:
        more = len(waiting) - MAX_INSTANCES_NAMED
        print_stderr(f"  and {more:,} more; see `tidegate instances`")


def _process_text(instance: Json) -> str:
    return f" on {instance['host']}, pid {instance['pid']}, last report {instance['last_seen_at']}"


def _place(client: ApiClient) -> str:
    return f"{client.target.environment} (project {client.target.project})"
