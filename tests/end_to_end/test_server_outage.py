"""A treatment breaks during an outage of the server: each process closes the release locally."""

from __future__ import annotations

import os
import re
import signal
import time

import pytest

from examples.shop.plan import boolean_flag
from tests.end_to_end.deployment import Deployment
from tests.waiting import until

POLICY = {
    "key": "guarded",
    "interval": "1s",
    "stages": [{"percentage": 50, "min_duration": "1h"}, {"percentage": 100}],
    "local_breaker": True,
}


@pytest.mark.parametrize("workers", ["gthread", pytest.param("gevent", marks=pytest.mark.long)])
def test_processes_close_a_release_during_an_outage_and_report_it_afterwards(
    deployment: Deployment, workers: str
) -> None:
    admin, callers = deployment.admin, deployment.callers
    deployment.start_server()
    admin.create("flags", boolean_flag("fast-checkout", ""))
    admin.create("policies", POLICY)
    deployment.start_application(workers=workers)
    callers.start()
    release = admin.start_release("fast-checkout", "on", "guarded", "a test").id
    deployment.wait_until("both arms work", release, lambda now: now.treatment.outcomes > 100)

    os.kill(deployment.processes.pid("server"), signal.SIGKILL)
    deployment.break_treatment()

    def closed() -> bool:
        """Return whether in two seconds each process gave control often, never the treatment."""
        before = callers.counts_by_process(release)
        time.sleep(2)
        after = callers.counts_by_process(release)
        return len(before) == 2 and all(
            after[process]["on"] == counts["on"]
            and after[process]["off"][0] > counts["off"][0] + 20
            for process, counts in before.items()
        )

    until(closed, "both processes close the release")
    failed = callers.counts(release)["on"][1]
    deployment.start_server()
    deployment.wait_until("the release ends", release, lambda now: now.ended)

    ended = admin.release(release)
    assert ended.state == "rolled_back", ended.reason
    assert failed > 0
    assert callers.lost == 0
    # The release may end before the second process reports; what comes after the end is ignored.
    assert re.search(
        r"breakers closed the release (once|2 times), for", admin.explanation(release)["ending"]
    )
