"""Threads of the SDK: daemons, so that no application waits for them, with signals blocked."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tidegate.runtime.signals import signals_blocked


def start(name: str, target: Callable[[], None]) -> None:
    """Start a daemon thread that leaves signals to the application's threads.

    The system may run a handler written in C in any thread. One that ends the process (uWSGI's)
    would wait there for locks that the interpreter's threads hold. The signal mask is inherited
    and not set in the thread: under gevent the thread is a greenlet in the application's own.

    Raises:
        RuntimeError: no thread can be started.
    """
    with signals_blocked():
        threading.Thread(target=target, name=name, daemon=True).start()
