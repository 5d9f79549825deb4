"""Imports at the first use that are safe against a fork at the same time.

If a process forks while another thread imports a module, the child has a copy of the module's
import lock that no thread releases: it would wait for ever. So a late import and a fork exclude
each other.

Threads: ``_lock`` is held during an import, and during a fork.
"""

from __future__ import annotations

import os
import threading
from importlib import import_module
from typing import Any

_lock = threading.RLock()


def load(name: str) -> Any:
    """Return a module, imported if it was not; no fork happens during the import."""
    with _lock:
        return import_module(name)


def _acquire() -> None:
    _lock.acquire()


def _release() -> None:
    _lock.release()


def _replace() -> None:
    """Replace the lock in a child: some libraries fork without the hook before it."""
    global _lock
    _lock = threading.RLock()


os.register_at_fork(before=_acquire, after_in_parent=_release, after_in_child=_replace)
