"""The quickstart, interrupted: the story itself is what ``.ci/run`` tells."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.child_processes import runs
from tests.end_to_end.world import descendants

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.long)],
)
def test_a_signal_ends_every_process_and_removes_the_folder(
    number: signal.Signals, tmp_path: Path
) -> None:
    story = subprocess.Popen(
        [sys.executable, "-u", "-m", "examples.shop.story", "--rate", "50"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert story.stdout is not None
        for line in story.stdout:
            if "visitors are around" in line:
                break
        started = [pid for pid, _ in descendants(story.pid)]
        assert (
            len(started) >= 8
        )  # supervisor, Valkey, gunicorn twice, workers, policy job, visitors
        story.send_signal(number)
        rest, _ = story.communicate(timeout=60)
    finally:
        story.kill()
    assert "Stopping." in rest
    assert story.returncode == 130
    assert [pid for pid in started if runs(pid)] == []
    assert list(tmp_path.iterdir()) == []
