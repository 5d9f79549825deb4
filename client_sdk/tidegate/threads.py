"""Threads of the SDK: daemons, so that no application waits for them, and deaf to signals."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager


def start(name: str, work: Callable[[], None]) -> None:
    """Start a daemon thread that leaves signals to the threads of the application."""
    with signals_left_to_others():
        threading.Thread(target=work, name=name, daemon=True).start()


@contextmanager
def signals_left_to_others() -> Generator[None]:
    """Leave signals to the threads of the application: those started in here block them.

    A handler in C runs in whichever thread the system chose, and one that ends the process
    (uWSGI's) would wait there for what the threads of the interpreter hold. The mask is
    inherited, not set in the threads: gevent's run in the application's own.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    faults = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - faults)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
