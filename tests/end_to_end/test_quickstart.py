"""The quickstart, interrupted by a signal. ``.ci/run`` runs a whole quickstart."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.child_processes import runs
from tests.end_to_end.deployment import descendants

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.long)],
)
def test_a_signal_ends_every_process_and_removes_the_folder(
    number: signal.Signals, tmp_path: Path
) -> None:
    quickstart = subprocess.Popen(
        [sys.executable, "-u", "-m", "examples.shop.quickstart", "--rate", "50"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert quickstart.stdout is not None
        for line in quickstart.stdout:
            if "started 20,000 visitors" in line:
                break
        started = [pid for pid, _ in descendants(quickstart.pid)]
        # The supervisor, Valkey, two gunicorns and their workers, the policy job, the visitors.
        assert len(started) >= 8
        quickstart.send_signal(number)
        output, _ = quickstart.communicate(timeout=60)
    finally:
        quickstart.kill()
    assert "Stopping." in output
    assert quickstart.returncode == 130
    assert [pid for pid in started if runs(pid)] == []
    assert list(tmp_path.iterdir()) == []
