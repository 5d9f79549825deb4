"""A release goes on from where it was, whichever part of the server is killed meanwhile.

``kill -9`` hits the policy job, the embedded Valkey and the supervisor, each in another stage.
"""

from __future__ import annotations

import os
import signal
from itertools import groupby, pairwise

from examples.shop.plan import boolean_flag
from tests.end_to_end.world import World, counted

STAGES = (25, 50, 75, 100)
POLICY = {
    "key": "quick",
    "interval": "1s",
    "stages": [{"percentage": share, "min_duration": "2s", "min_samples": 100} for share in STAGES],
    "bake": "20s",
}


def test_a_release_survives_the_death_of_every_part(world: World) -> None:
    admin = world.admin
    world.start_server()
    admin.create("flags", boolean_flag("fast-checkout", ""))
    admin.create("policies", POLICY)
    world.start_application()
    world.callers.start()
    release = admin.start_release("fast-checkout", "on", "quick", "a test").id

    world.wait_until("the second stage", release, lambda now: now.stage == 2)
    os.kill(world.server_process("processes.policy_job_process"), signal.SIGKILL)
    world.wait_until("the third stage", release, lambda now: now.stage == 3)
    os.kill(world.server_process("valkey", "redis-server"), signal.SIGKILL)
    world.wait_until("the last stage", release, lambda now: now.stage == 4)
    os.kill(world.processes.pid("server"), signal.SIGKILL)
    world.start_server()

    # While nobody calls, what was counted has to become exactly what happened.
    world.callers.pause()
    happened = world.callers.seen(release)
    world.wait_until("all is counted", release, lambda now: counted(now) == happened)
    assert world.callers.lost == 0
    world.callers.resume()

    world.wait_until("its end", release, lambda now: now.ended)
    ended = admin.release(release)
    assert (ended.state, ended.stage) == ("completed", len(STAGES)), ended.reason
    assert no_stage_was_skipped([entry["entry"] for entry in admin.ledger(release)])
    advances = [entry for entry in admin.audit() if entry["action"] == "release.advance"]
    assert len(advances) == len(STAGES) - 1


def no_stage_was_skipped(entries: list[dict[str, dict[str, int]]]) -> bool:
    """Each decision goes on where the one before it ended, by one stage at most."""
    seen = [entry["before"]["stage"] for entry in entries] + [entries[-1]["after"]["stage"]]
    joined = all(
        before["after"]["stage"] == after["before"]["stage"] for before, after in pairwise(entries)
    )
    return joined and [stage for stage, _ in groupby(seen)] == list(range(1, len(STAGES) + 1))
