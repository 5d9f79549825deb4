"""Restarts clients in forked children, and closes them when their process ends.

Clients are referenced weakly, so that an unused client can be collected earlier.
"""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from typing import TYPE_CHECKING, Any

from tidegate.runtime import uwsgi
from tidegate.runtime.late_imports import load

if TYPE_CHECKING:
    from tidegate.lifecycle import Lifecycle

_registered: weakref.WeakSet[Lifecycle] = weakref.WeakSet()


def register(client: Lifecycle) -> None:
    """Restart a client in children of this process, and close it at the end of each."""
    _registered.add(client)
    _close_with_multiprocessing()


def unregister(client: Lifecycle) -> None:
    """Forget a client that was closed."""
    _registered.discard(client)


class _MultiprocessingHook:
    """The key of this module in multiprocessing's registry of hooks."""

    registered = False
    closes_in_process: int | None = None


_multiprocessing = _MultiprocessingHook()


def _register_with_multiprocessing() -> None:
    """Let children of multiprocessing report at their end: they run no exit handlers.

    What is registered before a fork is cleared in the child, except in this registry.
    """
    util: Any = sys.modules.get("multiprocessing.util")
    if util is not None and not _multiprocessing.registered:
        _multiprocessing.registered = True
        util.register_after_fork(_multiprocessing, _close_with_multiprocessing)


def _close_with_multiprocessing(_: object = None) -> None:
    """Close all clients at the end of this process, if multiprocessing started it."""
    util: Any = sys.modules.get("multiprocessing.util")
    if util is not None and _multiprocessing.closes_in_process != os.getpid():
        _multiprocessing.closes_in_process = os.getpid()
        util.Finalize(None, _close_all, exitpriority=10)


def _close_all() -> None:
    clients = list(_registered)
    for client in clients:
        client.ask_to_close()  # so that they all send their last report at the same time
    for client in clients:
        client.close()


def _close_at_exit() -> None:
    if not uwsgi.is_running():
        _close_all()
        return
    # uWSGI's signal handlers would end a worker that is ending already, before its last report.
    with load("tidegate.runtime.signals").signals_blocked():
        _close_all()


def _restart_all() -> None:
    for client in list(_registered):
        client.restart_after_fork()


atexit.register(_close_at_exit)
os.register_at_fork(before=_register_with_multiprocessing, after_in_child=_restart_all)
