"""What a drill cuts, and how."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass

from tidegate_server.drill.demo import Demo


@dataclass(frozen=True, slots=True)
class Cut:
    """One failure.

    Attributes:
        key: its name on the command line.
        what: what happens, as a sentence.
        make, end: start the failure, and end it.
    """

    key: str
    what: str
    make: Callable[[Demo], None]
    end: Callable[[Demo], None]


def _leave(_: Demo) -> None:
    """Do nothing: the server starts its store again by itself."""


CUTS = (
    Cut(
        "store-killed",
        "The store is killed (kill -9); the server starts it again",
        lambda demo: demo.signal_store(signal.SIGKILL),
        _leave,
    ),
    Cut(
        "store-hung",
        "The store hangs (SIGSTOP)",
        lambda demo: demo.signal_store(signal.SIGSTOP),
        lambda demo: demo.signal_store(signal.SIGCONT),
    ),
    Cut(
        "server-killed",
        "The server, its policy job and its store are killed (kill -9)",
        Demo.kill_server,
        Demo.start_server,
    ),
    Cut(
        "network-dropped",
        "The network to the server closes every connection",
        lambda demo: demo.proxy.drop(),
        lambda demo: demo.proxy.mend(),
    ),
    Cut(
        "network-hung",
        "The network to the server passes nothing on, and closes nothing",
        lambda demo: demo.proxy.hang(),
        lambda demo: demo.proxy.mend(),
    ),
)
"""In the order of the drill."""
