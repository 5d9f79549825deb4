"""The quickstart, interrupted by a signal or by who watches. ``.ci/run`` runs a whole one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import urllib3

from examples.shop import plan
from examples.shop.quickstart import Quickstart
from examples.shop.view import PlainView
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


class Killing(PlainView):
    """Somebody who watches, and kills a flag as soon as both releases have started."""

    quickstart: Quickstart | None = None

    def event(self, text: str) -> None:
        if self.quickstart is not None and text.startswith(f"{plan.BAD}: release started"):
            stack = self.quickstart.stack
            path = f"projects/default/environments/production/flags/{plan.GOOD}/kill"
            killed = urllib3.request(
                "POST",
                f"{stack.url}/api/v1/{path}",
                headers={"Authorization": f"Bearer {stack.token}"},
                json={"reason": "trying the kill switch"},
            )
            assert killed.status == 200, killed.data


def test_a_release_that_a_person_takes_over_is_no_failure(tmp_path: Path) -> None:
    quickstart = Quickstart(tmp_path, 50.0)
    try:
        view = Killing()
        quickstart.set_up(view)
        view.quickstart = quickstart
        assert not quickstart.run(view, once=False)
        assert quickstart.runs[plan.GOOD].status.state == "killed"
        quickstart.processes.check()
    finally:
        quickstart.processes.stop()
