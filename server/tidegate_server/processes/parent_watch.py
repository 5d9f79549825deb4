"""Tells a child process that its supervisor has ended, even by ``kill -9``.

The supervisor holds the write end of a pipe and its children the read end. Nothing is ever
written; when the supervisor ends, the children read the end of the file. This works on Linux and
macOS.

Threads: one daemon thread waits in ``read``.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

VARIABLE = "_TIDEGATE_LIFELINE"


def watch_parent(on_end: Callable[[], None]) -> None:
    """Call ``on_end`` once when the supervisor ends; do nothing without a supervisor."""
    descriptor = os.environ.pop(VARIABLE, "")
    if not descriptor:
        return
    read_end = int(descriptor)
    # Processes that this one starts must not inherit it.
    os.set_inheritable(read_end, False)

    def wait() -> None:
        while os.read(read_end, 1):
            pass
        on_end()

    threading.Thread(target=wait, name="tidegate-parent-watch", daemon=True).start()
