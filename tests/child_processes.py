"""Programs in other processes, and the state of these."""

from __future__ import annotations

import subprocess
import sys

PYTHON_THAT_FORKS: tuple[str, ...] = (
    sys.executable,
    *("-W", "ignore:This process:DeprecationWarning"),
)
"""Python for a program that forks while it has threads: since version 3.12 it warns of that."""


def runs(pid: int) -> bool:
    """Return whether a process runs. A zombie does not."""
    result = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], check=False, capture_output=True, text=True
    )
    return result.stdout.strip()[:1] not in ("", "Z")
