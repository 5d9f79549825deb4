"""Forks that Python does not hear of.

uWSGI forks its workers without Python's fork hooks, unless it is asked to call them, and
without minding the threads of its master: a worker that is forked while one of them holds the
interpreter waits for it for ever. So a client that is made in such a master starts nothing
there; it begins in each worker, told by uWSGI's own hook.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

FORK_HOOKS = "py-call-uwsgi-fork-hooks"
"""The option with which uWSGI forks as Python does."""


def runs() -> bool:
    """Whether this process is one of uWSGI's."""
    # Looked up, not imported: a folder or a module of the application may have this name.
    return hasattr(sys.modules.get("uwsgi"), "worker_id")


def workers_are_to_come() -> bool:
    """Whether this is a uWSGI master, whose workers will not hear of their birth."""
    uwsgi: Any = sys.modules.get("uwsgi")
    if not runs() or uwsgi.worker_id() or uwsgi.mule_id():
        return False
    options = {name.decode() if isinstance(name, bytes) else name for name in uwsgi.opt}
    return FORK_HOOKS not in options and not uwsgi.i_am_the_spooler()


def call_in_workers(begin: Callable[[], None]) -> None:
    """Let every worker, mule and spooler that this master forks call ``begin`` first.

    Whatever uWSGI was told to call before is called, too. ``uwsgidecorators``, imported later
    than this, takes the place for itself.
    """
    uwsgi: Any = sys.modules["uwsgi"]
    before: Callable[[], object] | None = getattr(uwsgi, "post_fork_hook", None)

    def hook() -> None:
        try:
            begin()
        finally:
            if before is not None:
                before()

    uwsgi.post_fork_hook = hook
