"""How a child process learns that its supervisor is gone, however it went.

The supervisor holds the writing end of a pipe, children the reading end. Nothing is ever
written; when the supervisor ends, even by ``kill -9``, the reading end sees the end of the
file. It works the same on Linux and macOS.

Threads: one daemon thread waits in ``read``.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

VARIABLE = "_TIDEGATE_LIFELINE"


def watch(when_cut: Callable[[], None]) -> None:
    """Call ``when_cut`` once when the supervisor is gone; do nothing without one."""
    number = os.environ.pop(VARIABLE, "")
    if not number:
        return
    reading = int(number)
    # What this process starts itself must not inherit it.
    os.set_inheritable(reading, False)

    def wait() -> None:
        while os.read(reading, 1):
            pass
        when_cut()

    threading.Thread(target=wait, name="tidegate-lifeline", daemon=True).start()
