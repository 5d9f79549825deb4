"""Sign in by approving a code in a browser, on this machine or on another one."""

from __future__ import annotations

import os
import socket
import sys
import time
import webbrowser
from contextlib import closing

from tidegate_server.cli.api_client import ApiClient, Json, api_path
from tidegate_server.cli.output import print_stderr
from tidegate_server.cli.target import Target
from tidegate_server.errors import ServerRefused, ServerUnreachable

NOT_YET = "authorization-pending"
TOO_SOON = "slow-down"
TOO_OLD = "no-such-address"
SLOWER_S = 5
"""How much longer to wait between two questions when the server asks for it (RFC 8628, 3.5)."""


def token_by_browser(
    target: Target, expires_in: str, permissions: tuple[str, ...], *, open_browser: bool
) -> Json:
    """Show a code, wait until a person approves it in a browser, and return their new token.

    Args:
        target: the server.
        expires_in: how long the token works.
        permissions: the most that it may do; none: what the person may do.
        open_browser: open the page here, if this machine has a screen.

    Raises:
        ServerRefused: somebody refused, or nobody approved in time.
        ServerUnreachable: the server does not answer, or not until the code has expired.
    """
    body: Json = {"host": socket.gethostname()[:100] or "unknown", "expires_in": expires_in}
    if permissions:
        body["permissions"] = list(permissions)
    with closing(ApiClient(target)) as client:
        try:
            started = client.post(api_path("device-sign-ins"), body)
        except ServerRefused as refused:
            if refused.problem != TOO_OLD:
                raise
            raise ServerRefused(
                "This server cannot sign you in through a browser: it is older. Use --email, or "
                "--with-token.",
                refused.status,
            ) from None
        _show(started, open_browser and _has_screen())
        return _wait(client, started)


def _show(started: Json, open_browser: bool) -> None:
    opened = open_browser and webbrowser.open(started["verification_uri_complete"])
    where = "In the page that has opened," if opened else "Open this page in any browser, and"
    print_stderr(
        f"Your code: {started['user_code']}\n"
        f"{where} approve the code: {started['verification_uri_complete']}\n"
        f"Waiting ({started['expires_in'] // 60} minutes at most, Ctrl-C ends it) ..."
    )


def _wait(client: ApiClient, started: Json) -> Json:
    interval, told = float(started["interval"]), False
    deadline = time.monotonic() + started["expires_in"]
    path, question = api_path("device-sign-ins", "token"), {"device_code": started["device_code"]}
    while True:
        time.sleep(interval)
        try:
            return client.post(path, question)
        except ServerRefused as refused:
            if refused.problem == TOO_SOON:
                interval += SLOWER_S
            elif refused.problem != NOT_YET:
                raise
        except ServerUnreachable as error:
            if time.monotonic() > deadline:
                raise
            if not told:
                print_stderr(f"{error.message} Still waiting ...")
            told = True


def _has_screen() -> bool:
    """Return whether a browser would open in a window, and not in this terminal."""
    if os.environ.get("SSH_CONNECTION"):
        return False
    return sys.platform == "darwin" or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
