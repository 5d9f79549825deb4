"""What becomes of clients when their process forks or ends.

Clients are known here weakly: one that nobody holds need not wait for the end.
"""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from tidegate.runtime import uwsgi
from tidegate.runtime.late_imports import load


class Member(Protocol):
    """A client, as far as its process is concerned."""

    def close(self) -> None:
        """Send what has not been reported and stop."""

    def _after_fork(self) -> None:
        """Begin anew in a child."""


_members: weakref.WeakSet[Member] = weakref.WeakSet()


def join(member: Member) -> None:
    """Let a client begin anew in children of this process, and report at its end."""
    _members.add(member)
    _close_with_multiprocessing()
    atexit.register(unless_gone(weakref.WeakMethod(member.close), _at_exit))


def leave(member: Member) -> None:
    """Forget a client that was closed."""
    _members.discard(member)


def unless_gone(
    method: weakref.WeakMethod[Callable[[], None]],
    how: Callable[[Callable[[], None]], None] = lambda call: call(),
) -> Callable[[], None]:
    """Return what calls a method as long as its object is there."""

    def call() -> None:
        bound = method()
        if bound is not None:
            how(bound)

    return call


def _at_exit(close: Callable[[], None]) -> None:
    if not uwsgi.runs():
        close()
        return
    # Its handlers would end a worker that is ending already, and the last report with it.
    with load("tidegate.runtime.signals").held_back():
        close()


class _Everyone:
    """What multiprocessing's registry holds on to."""

    told = False
    closing_in: int | None = None


_everyone = _Everyone()


def _tell_multiprocessing() -> None:
    """Let children of multiprocessing report at their end: they run no exit handlers.

    Whatever was registered before a fork is cleared in the child, but for this registry.
    """
    util: Any = sys.modules.get("multiprocessing.util")
    if util is not None and not _everyone.told:
        _everyone.told = True
        util.register_after_fork(_everyone, _close_with_multiprocessing)


def _close_with_multiprocessing(_: object = None) -> None:
    """The same for this process, which a fork server may have made: there was no SDK before."""
    util: Any = sys.modules.get("multiprocessing.util")
    if util is not None and _everyone.closing_in != os.getpid():
        _everyone.closing_in = os.getpid()
        util.Finalize(None, _close_everyone, exitpriority=10)


def _close_everyone() -> None:
    for member in list(_members):
        member.close()


def _restart_in_child() -> None:
    for member in list(_members):
        member._after_fork()


os.register_at_fork(before=_tell_multiprocessing, after_in_child=_restart_in_child)
