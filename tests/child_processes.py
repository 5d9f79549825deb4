"""The state of other processes."""

from __future__ import annotations

import subprocess


def runs(pid: int) -> bool:
    """Return whether a process runs. A zombie does not."""
    result = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], check=False, capture_output=True, text=True
    )
    return result.stdout.strip()[:1] not in ("", "Z")
