"""Imports that are made late, and are safe against a fork in the middle.

A fork copies the lock of a module that another thread is importing, held for ever: the
child would wait for it for ever. So a late import and a fork exclude each other.
"""

from __future__ import annotations

import os
import threading
from importlib import import_module
from typing import Any

_lock = threading.RLock()


def load(name: str) -> Any:
    """Return a module, importing it the first time; no fork happens meanwhile."""
    with _lock:
        return import_module(name)


def _hold() -> None:
    _lock.acquire()


def _let_go() -> None:
    _lock.release()


def _renew() -> None:
    """Forget who held the lock: not everybody who forks has called the hook before it."""
    global _lock
    _lock = threading.RLock()


os.register_at_fork(before=_hold, after_in_parent=_let_go, after_in_child=_renew)
