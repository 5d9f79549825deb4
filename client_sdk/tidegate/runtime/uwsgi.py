"""Forks of uWSGI, which does not call Python's fork hooks.

uWSGI forks its workers without these hooks unless an option asks for them, and whatever the
threads of its master do: a worker that is forked while one of them holds the interpreter lock
waits for that lock for ever. So a client that is made in such a master starts nothing there. It
starts in each worker, called by uWSGI's own hook.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

FORK_HOOKS = "py-call-uwsgi-fork-hooks"
"""The option that makes uWSGI call Python's fork hooks."""


def is_running() -> bool:
    """Return whether this process is one of uWSGI's."""
    # Looked up, not imported: a folder or module of the application may have this name.
    return hasattr(sys.modules.get("uwsgi"), "worker_id")


def workers_will_start() -> bool:
    """Return whether this is a uWSGI master that forks without calling Python's fork hooks."""
    uwsgi: Any = sys.modules.get("uwsgi")
    if not is_running() or uwsgi.worker_id() or uwsgi.mule_id():
        return False
    options = {name.decode() if isinstance(name, bytes) else name for name in uwsgi.opt}
    return FORK_HOOKS not in options and not uwsgi.i_am_the_spooler()


def call_in_workers(start: Callable[[], None]) -> None:
    """Call ``start`` first in every worker, mule and spooler that this master forks.

    A hook that was set before is called as well. ``uwsgidecorators`` replaces the hook if it is
    imported after this call.
    """
    uwsgi: Any = sys.modules["uwsgi"]
    previous: Callable[[], object] | None = getattr(uwsgi, "post_fork_hook", None)

    def hook() -> None:
        try:
            start()
        finally:
            if previous is not None:
                previous()

    uwsgi.post_fork_hook = hook
