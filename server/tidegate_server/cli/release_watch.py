"""`tidegate release watch`: a live view on a terminal, else one line for each change."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tidegate_server.cli.api_client import ApiClient, Json
from tidegate_server.cli.exit_codes import INTERRUPTED, NOT_REACHED
from tidegate_server.cli.output import console, print_json_line, print_stderr, print_text
from tidegate_server.cli.release_view import ENDED, release_view, status_line
from tidegate_server.errors import ServerUnreachable

POLL_SECONDS = 1.0

Show = Callable[[Json], None]


def watch(client: ApiClient, release: Json, *, as_json: bool) -> int:
    """Show a release until it ends; returns the exit status.

    Raises:
        ServerRefused: the token may no longer read the release.
    """
    path = client.environment_path("releases", release["id"])
    try:
        with _display(as_json) as show:
            show(release)
            while release["state"] not in ENDED:
                time.sleep(POLL_SECONDS)
                release = _read_with_retries(client, path)
                show(release)
    except KeyboardInterrupt:
        print_stderr(f"Stopped watching {release['id']}. The release continues.")
        return INTERRUPTED
    return 0 if release["state"] == "completed" else NOT_REACHED


def _read_with_retries(client: ApiClient, path: str) -> Json:
    """Read a release, and wait for the server if it cannot be reached."""
    reported = False
    while True:
        try:
            return client.get(path).body
        except ServerUnreachable as error:
            if not reported:
                print_stderr(f"tidegate: {error.message} Waiting for it.")
                reported = True
            time.sleep(POLL_SECONDS)


@contextmanager
def _display(as_json: bool) -> Iterator[Show]:
    if as_json or not sys.stdout.isatty():
        yield _only_changes(print_json_line if as_json else _print_line)
        return
    from rich.live import Live

    with Live(console=console(), auto_refresh=False) as live:
        yield lambda release: live.update(release_view(release), refresh=True)


def _only_changes(show: Show) -> Show:
    """Return a function that shows a release if what decides, its state or stage is new."""
    last: list[object] = [None]

    def show_change(release: Json) -> None:
        deciding = [(each["cause"], each["state"]) for each in release["ladder"]]
        status = (release["state"], deciding, release["stage"], release["reason"])
        if status != last[0]:
            last[0] = status
            show(release)

    return show_change


def _print_line(release: Json) -> None:
    print_text(f"{time.strftime('%H:%M:%S')} {status_line(release)}")
    sys.stdout.flush()
