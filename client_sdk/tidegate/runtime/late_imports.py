"""Imports at the first use that are safe against a fork at the same time.

If a process forks while another thread imports a module, the child has a copy of the module's
import lock that no thread releases: it would wait for ever. So a late import and a fork exclude
each other.
"""

from __future__ import annotations

import sys
from typing import Any

from tidegate.runtime.fork_lock import no_fork


def load(name: str) -> Any:
    """Return a module, imported if it was not; no fork happens during the import."""
    with no_fork():
        __import__(name)  # without ``importlib``, which is another import
        return sys.modules[name]
