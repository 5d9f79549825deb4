"""Threads of the SDK: daemons, so that no application waits for them, and deaf to signals."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tidegate.runtime.signals import held_back


def start(name: str, work: Callable[[], None]) -> None:
    """Start a daemon thread that leaves signals to the threads of the application.

    A handler in C runs in whichever thread the system chose, and one that ends the process
    (uWSGI's) would wait there for what the threads of the interpreter hold. The mask is
    inherited, not set in the thread: gevent's run in the application's own.
    """
    with held_back():
        threading.Thread(target=work, name=name, daemon=True).start()
