"""Forks that Python does not hear of.

uWSGI forks its workers without Python's fork hooks, unless it is asked to call them. A client
that was made before such a fork would do nothing in the workers, so it says so.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any

log: logging.Logger = logging.getLogger("tidegate")

ENOUGH = ("py-call-uwsgi-fork-hooks", "lazy-apps", "lazy")
"""With one of these a client works in every worker."""


def check() -> None:
    """Warn when this process is a uWSGI master whose workers would not hear of their birth."""
    try:
        uwsgi: Any = import_module("uwsgi")
    except ImportError:
        return
    options = {name.decode() if isinstance(name, bytes) else name for name in uwsgi.opt}
    if uwsgi.worker_id() == 0 and options.isdisjoint(ENOUGH):
        log.warning(
            "no flags in uWSGI's workers: start it with --py-call-uwsgi-fork-hooks "
            "(or --lazy-apps), and with --enable-threads"
        )
