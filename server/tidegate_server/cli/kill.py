"""`tidegate kill` and `tidegate restore`: everyone off, at once, and seen to be.

Nothing is drawn and nothing is read that the switch itself does not need: it is used when
other things are broken.
"""

from __future__ import annotations

import sys
import time

import click

from tidegate_server.cli.api_client import Json, Server
from tidegate_server.cli.exit_codes import INTERRUPTED, NOT_SEEN
from tidegate_server.cli.options import (
    duration,
    for_environment_in_a_hurry,
    output_option,
    reason_option,
)
from tidegate_server.cli.output import JSON, note, print_json, say
from tidegate_server.errors import TidegateError

POLL_SECONDS = 0.1
MOST_NAMED = 10


@click.command()
@click.argument("flag")
@reason_option
@click.option(
    "--wait", type=duration, default="10s", show_default=True,
    help="How long to wait until every live process has applied it; 0s: do not.",
)  # fmt: skip
@output_option
@for_environment_in_a_hurry
def kill(server: Server, flag: str, reason: str, wait: float, output: str) -> None:
    """Give everyone FLAG's kill variant at once, until restored.

    A release of the flag stops. Then waits for the receipt: how many live processes have
    applied it, and how long that took. Exit status 5: it is in force, but a live process has
    not applied it in time.
    """
    began = time.monotonic()
    at = server.environment_path("flags", flag)
    killed = server.post(f"{at}/kill", {"reason": reason})
    if output != JSON:
        say(_in_force(server, killed))
    seen = _wait_for_receipt(server, at, killed, began + wait) if wait else killed
    if output == JSON:
        print_json(seen)
    else:
        say(_receipt(seen, asked_to_wait=wait > 0))
    if wait and not _applied(seen):
        _name_waiting(server, seen)
        sys.exit(NOT_SEEN)


@click.command()
@click.argument("flag")
@reason_option
@output_option
@for_environment_in_a_hurry
def restore(server: Server, flag: str, reason: str, output: str) -> None:
    """End the kill of FLAG. A release that it stopped stays paused until it is resumed."""
    restored = server.post(server.environment_path("flags", flag, "restore"), {"reason": reason})
    if output == JSON:
        return print_json(restored)
    say(f"{flag} is restored in {_place(server)}.")
    if restored["release"]:
        say(f"Its release is paused; `tidegate release resume {restored['release']}` goes on.")
    return None


def _wait_for_receipt(server: Server, at: str, killed: Json, until: float) -> Json:
    seen = killed
    try:
        while not _applied(seen) and time.monotonic() < until:
            time.sleep(POLL_SECONDS)
            seen = server.read(at).body
    except TidegateError as error:
        note(f"tidegate: the kill is in force, but its receipt cannot be read: {error.message}")
        sys.exit(NOT_SEEN)
    except KeyboardInterrupt:
        note("tidegate: the kill is in force; nobody waits for its receipt any more.")
        sys.exit(INTERRUPTED)
    return seen


def _applied(seen: Json) -> bool:
    receipt = seen["receipt"]
    return receipt is not None and receipt["applied"] >= receipt["live"]


def _in_force(server: Server, killed: Json) -> str:
    variant = killed["kill_variant"] or killed["off_variant"]
    words = f"{killed['flag']} is killed in {_place(server)}: everyone gets {variant}."
    if killed["release"]:
        words += f" Its release {killed['release']} is stopped."
    return words


def _receipt(seen: Json, *, asked_to_wait: bool) -> str:
    receipt = seen["receipt"]
    if receipt is None:
        return "Somebody has restored it meanwhile."
    if receipt["live"] == 0:
        return "No process with the SDK reports here at present, so none can confirm it."
    so_far = "" if asked_to_wait or _applied(seen) else " so far"
    words = f"Applied by {receipt['applied']} of {receipt['live']} live processes{so_far}"
    if receipt["median_ms"] is not None:
        times = (("median", "median_ms"), ("95 %", "p95_ms"), ("slowest", "slowest_ms"))
        words += ": " + ", ".join(f"{name} {_span(receipt[field])}" for name, field in times)
    return f"{words}."


def _name_waiting(server: Server, seen: Json) -> None:
    """Say which processes have not applied it, on standard error."""
    waiting = seen["receipt"]["waiting"] if seen["receipt"] else []
    if not waiting:
        return
    known: dict[str, Json] = {}
    try:
        items = server.list(server.environment_path("instances")).items
        known = {each["id"]: each for each in items}
    except TidegateError:
        pass  # the list of ids is better than nothing
    note("tidegate: the kill is in force, and these live processes have not applied it yet:")
    for id in waiting[:MOST_NAMED]:
        note(f"  instance {id}{_whereabouts(known[id]) if id in known else ''}")
    if len(waiting) > MOST_NAMED:
        note(f"  and {len(waiting) - MOST_NAMED:,} more; `tidegate instances` lists all")


def _whereabouts(instance: Json) -> str:
    return f" on {instance['host']}, pid {instance['pid']}, heard of {instance['last_seen_at']}"


def _place(server: Server) -> str:
    return f"{server.target.environment} of {server.target.project}"


def _span(value: float) -> str:
    from tidegate_server.cli.formatting import milliseconds

    return milliseconds(value)
