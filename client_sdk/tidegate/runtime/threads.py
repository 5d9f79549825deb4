"""Threads of the SDK: daemons, so that no application waits for them, with signals blocked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from tidegate.runtime.signals import signals_blocked


def start(name: str, target: Callable[[], None]) -> threading.Thread:
    """Start and return a daemon thread that leaves signals to the application's threads.

    The system may run a handler written in C in any thread. One that ends the process (uWSGI's)
    would wait there for locks that the interpreter's threads hold. The signal mask is inherited
    and not set in the thread: under gevent the thread is a greenlet in the application's own.

    Raises:
        RuntimeError: no thread can be started.
    """
    thread = threading.Thread(target=target, name=name, daemon=True)
    with signals_blocked():
        thread.start()
    return thread


def join(thread: threading.Thread | None, deadline: float) -> bool:
    """Wait until a thread has ended, or a moment of the monotonic clock; return whether it has.

    A thread does not wait for itself: a listener may close its client.
    """
    if thread is None or thread is threading.current_thread():
        return True
    thread.join(max(0.0, deadline - time.monotonic()))
    return not thread.is_alive()
