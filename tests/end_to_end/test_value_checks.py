"""A slower treatment and one that sells less are rolled back, although neither fails."""

from __future__ import annotations

import random
import threading

import urllib3

from examples.shop.plan import boolean_flag
from tests.end_to_end.deployment import Deployment

CHECKS = {
    "slow-search": {"metric": "latency", "compare": "control", "quantile": 0.9},
    "small-basket": {
        "metric": "custom",
        "measure": "basket_value",
        "compare": "control",
        "quantile": 0.1,
        "operator": ">=",
    },
}


def test_worse_values_roll_a_release_back(deployment: Deployment) -> None:
    admin = deployment.admin
    deployment.start_server()
    releases = {}
    for flag, check in CHECKS.items():
        admin.create("flags", boolean_flag(flag, ""))
        policy = {
            "key": f"watch-{flag}",
            "interval": "1s",
            "stages": [{"percentage": 50, "min_duration": "5m"}, {"percentage": 100}],
            "checks": [check],
        }
        admin.create("policies", policy)
    deployment.start_application("tests.end_to_end.slow_app:app")
    for flag in CHECKS:
        releases[flag] = admin.start_release(flag, "on", f"watch-{flag}", "a test").id

    done = threading.Event()

    def visit(path: str) -> None:
        http = urllib3.PoolManager(retries=False, timeout=60.0)
        dice = random.Random(path)
        while not done.wait(0.005):
            cookie = {"Cookie": f"visitor=user-{dice.randrange(20_000)}"}
            http.request("GET", f"{deployment.application_url}{path}", headers=cookie)

    visitors = [threading.Thread(target=visit, args=(path,)) for path in ("/slow", "/small") * 2]
    for visitor in visitors:
        visitor.start()
    try:
        for flag, release in releases.items():
            deployment.wait_until(f"the release of {flag} ends", release, lambda now: now.ended)
            ended = admin.release(release)
            assert ended.state == "rolled_back"
            assert CHECKS[flag]["metric"] == "latency" or "basket_value" in ended.reason
            assert (ended.treatment.errors, ended.control.errors) == (0, 0)
    finally:
        done.set()
        for visitor in visitors:
            visitor.join()
