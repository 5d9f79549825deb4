"""`tidegate release watch`: a picture that is drawn anew, or a line for each change."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from tidegate_server.cli.api_client import Json, Server
from tidegate_server.cli.exit_codes import INTERRUPTED, NOT_SEEN
from tidegate_server.cli.output import console, note, say
from tidegate_server.cli.release_view import ENDED, line, picture
from tidegate_server.errors import ServerUnreachable

POLL_SECONDS = 1.0

Show = Callable[[Json], None]


def watch(server: Server, found: Json, *, as_json: bool) -> int:
    """Show a release until it has ended; returns the exit status.

    Raises:
        ServerRefused: it may not be read any more.
    """
    at = server.environment_path("releases", found["id"])
    try:
        with _shower(as_json) as show:
            show(found)
            while found["state"] not in ENDED:
                time.sleep(POLL_SECONDS)
                found = _read_patiently(server, at)
                show(found)
    except KeyboardInterrupt:
        note(f"Nobody watches {found['id']} any more; it goes on by itself.")
        return INTERRUPTED
    return 0 if found["state"] == "completed" else NOT_SEEN


def _read_patiently(server: Server, at: str) -> Json:
    """Read a release; a server that is away is waited for."""
    told = False
    while True:
        try:
            return server.read(at).body
        except ServerUnreachable as error:
            if not told:
                note(f"tidegate: {error.message} Waiting for it.")
                told = True
            time.sleep(POLL_SECONDS)


@contextmanager
def _shower(as_json: bool) -> Iterator[Show]:
    if as_json or not sys.stdout.isatty():
        yield _changes(_print_json if as_json else _print_line)
        return
    from rich.live import Live

    with Live(console=console(), auto_refresh=False) as live:
        yield lambda found: live.update(picture(found), refresh=True)


def _changes(show: Show) -> Show:
    """Show only what is new: another state, stage or reason."""
    last: list[object] = [None]

    def show_new(found: Json) -> None:
        standing = (found["state"], found["stopped"], found["stage"], found["reason"])
        if standing != last[0]:
            last[0] = standing
            show(found)

    return show_new


def _print_line(found: Json) -> None:
    say(f"{time.strftime('%H:%M:%S')} {line(found)}")
    sys.stdout.flush()


def _print_json(found: Json) -> None:
    click.echo(json.dumps(found, ensure_ascii=False))
