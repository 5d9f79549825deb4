"""A release continues after ``kill -9`` of any process of the server."""

from __future__ import annotations

import os
import signal
from itertools import groupby, pairwise

from examples.shop.plan import boolean_flag
from tests.end_to_end.deployment import Deployment, tidegate_counts

STAGES = (25, 50, 75, 100)
POLICY = {
    "key": "quick",
    "interval": "1s",
    "stages": [{"percentage": share, "min_duration": "2s", "min_samples": 100} for share in STAGES],
    "bake": "20s",
}


def test_a_release_continues_after_each_process_of_the_server_is_killed(
    deployment: Deployment,
) -> None:
    admin = deployment.admin
    deployment.start_server()
    admin.create("flags", boolean_flag("fast-checkout", ""))
    admin.create("policies", POLICY)
    deployment.start_application()
    deployment.callers.start()
    release = admin.start_release("fast-checkout", "on", "quick", "a test").id

    deployment.wait_until("the second stage", release, lambda now: now.stage == 2)
    os.kill(deployment.server_process("processes.policy_job_process"), signal.SIGKILL)
    deployment.wait_until("the third stage", release, lambda now: now.stage == 3)
    os.kill(deployment.server_process("valkey", "redis-server"), signal.SIGKILL)
    deployment.wait_until("the last stage", release, lambda now: now.stage == 4)
    os.kill(deployment.processes.pid("server"), signal.SIGKILL)
    deployment.start_server()

    # Without new calls, the counts must become exactly those of the responses.
    deployment.callers.pause()
    expected = deployment.callers.counts(release)
    deployment.wait_until(
        "all calls are counted", release, lambda now: tidegate_counts(now) == expected
    )
    assert deployment.callers.lost == 0
    deployment.callers.resume()

    deployment.wait_until("the release ends", release, lambda now: now.ended)
    ended = admin.release(release)
    assert (ended.state, ended.stage) == ("completed", len(STAGES)), ended.reason
    assert no_stage_was_skipped([entry["entry"] for entry in admin.ledger(release)])
    advances = [entry for entry in admin.audit() if entry["action"] == "release.advance"]
    assert len(advances) == len(STAGES) - 1


def no_stage_was_skipped(entries: list[dict[str, dict[str, int]]]) -> bool:
    """Return whether each decision starts at the stage where the one before it ended."""
    stages = [entry["before"]["stage"] for entry in entries] + [entries[-1]["after"]["stage"]]
    contiguous = all(
        before["after"]["stage"] == after["before"]["stage"] for before, after in pairwise(entries)
    )
    return contiguous and [stage for stage, _ in groupby(stages)] == list(range(1, len(STAGES) + 1))
