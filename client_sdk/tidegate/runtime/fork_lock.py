"""A lock against forks: no child is made while a thread is halfway through what it guards.

Threads: ``_lock`` is held for as long as ``no_fork`` says, and during a fork.
"""

from __future__ import annotations

# In a child, hooks run in the order in which their modules were imported. Those of ``logging`` must
# come first: a client that starts again there logs, and would wait for its old locks for ever.
import logging  # noqa: F401  # pyright: ignore[reportUnusedImport]
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.RLock()


@contextmanager
def no_fork() -> Iterator[None]:
    """Let no fork of this process happen while the block runs; it must be short."""
    with _lock:
        yield


def _acquire() -> None:
    _lock.acquire()


def _release() -> None:
    _lock.release()


def _replace() -> None:
    """Replace the lock in a child: some libraries fork without the hook before it."""
    global _lock
    _lock = threading.RLock()


os.register_at_fork(before=_acquire, after_in_parent=_release, after_in_child=_replace)
