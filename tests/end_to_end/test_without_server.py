"""A treatment breaks while the server is dead: every process closes the release for itself."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from examples.shop.plan import boolean_flag
from tests.end_to_end.world import World
from tests.waiting import until

POLICY = {
    "key": "guarded",
    "interval": "1s",
    "stages": [{"percentage": 50, "min_duration": "1h"}, {"percentage": 100}],
    "local_breaker": True,
}


@pytest.mark.parametrize("workers", ["gthread", pytest.param("gevent", marks=pytest.mark.long)])
def test_processes_close_a_release_while_the_server_is_dead_and_tell_of_it_afterwards(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    broken = tmp_path / "broken"
    monkeypatch.setenv("BROKEN", str(broken))
    admin = world.admin
    world.start_server()
    admin.create("flags", boolean_flag("fast-checkout", ""))
    admin.create("policies", POLICY)
    world.start_application("tests.end_to_end.breaking:app", workers=workers)
    world.callers.start()
    release = admin.start_release("fast-checkout", "on", "guarded", "a test").id
    world.wait_until("both arms work", release, lambda now: now.treatment.outcomes > 100)

    os.kill(world.processes.pid("server"), signal.SIGKILL)
    broken.touch()

    def closed() -> bool:
        """Nobody got the treatment within two seconds, although everyone went on calling."""
        before = world.callers.seen(release)
        time.sleep(2)
        after = world.callers.seen(release)
        return after["on"] == before["on"] and after["off"][0] > before["off"][0] + 20

    until(closed, "both processes closed it")
    failed = world.callers.seen(release)["on"][1]
    world.start_server()
    world.wait_until("the policy job has heard", release, lambda now: now.ended)

    ended = admin.release(release)
    assert ended.state == "rolled_back", ended.reason
    assert failed > 0
    assert world.callers.lost == 0
    world.processes.wait_for(
        "both trips are reported",
        lambda: "closed the release 2 times" in admin.explanation(release)["ending"],
    )
