"""Looking at processes from outside."""

from __future__ import annotations

import subprocess


def runs(pid: int) -> bool:
    """Whether there is such a process; one that waits to be reaped has ended."""
    listed = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], check=False, capture_output=True, text=True
    )
    return listed.stdout.strip()[:1] not in ("", "Z")
