"""A treatment breaks during an outage of the server: each process closes the release locally."""

from __future__ import annotations

import re

import pytest

from examples.shop.plan import boolean_flag
from tests.end_to_end.deployment import PATIENCE_SECONDS, Deployment
from tests.waiting import until

POLICY = {
    "key": "guarded",
    "interval": "1s",
    "stages": [{"percentage": 50, "min_duration": "1h"}, {"percentage": 100}],
    "local_breaker": True,
}


OFTEN = 200
"""At half of the users, that the treatment was never chosen among so many is no chance."""


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

    deployment.kill_server()
    deployment.break_treatment()
    before = callers.counts_by_process(release)

    def closed() -> bool:
        """Return whether each process gave the control often since it last gave the treatment."""
        after = callers.counts_by_process(release)
        for process, counts in after.items():
            if process not in before or counts["on"] != before[process]["on"]:
                before[process] = counts
        return len(before) == 2 and all(
            after[process]["off"][0] > counts["off"][0] + OFTEN
            for process, counts in before.items()
        )

    until(closed, "both processes close the release", PATIENCE_SECONDS)
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
