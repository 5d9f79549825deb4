"""With almost no traffic a stage ends as its policy says, and everything that shows it says why."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import tidegate

from examples.shop.plan import boolean_flag
from tests.cli.calls import Tidegate
from tests.end_to_end.deployment import TOKEN, Deployment

UNDECIDED = ("advance", "rollback", "hold")
PAUSE_SECONDS = 0.1
SECONDS = r"[\d.]+ s"


def policy(undecided: str) -> dict[str, Any]:
    """A stage of eight seconds at most, and a second one that nobody leaves."""
    first = {"percentage": 20, "min_duration": "0s", "max_duration": "8s", "undecided": undecided}
    second = {"percentage": 50, "min_duration": "1h"}
    return {
        "key": undecided,
        "interval": "1s",
        "stages": [first, second, {"percentage": 100}],
        "no_data": {"after": "1h"},
    }


@contextmanager
def trickle(url: str, token: str) -> Iterator[None]:
    """Use every flag a few times a second, without an error."""
    done = threading.Event()
    client = tidegate.Client(url, token)

    def use() -> None:
        for number in itertools.count():
            if done.wait(PAUSE_SECONDS):
                return
            with client.operation(tidegate.Context(f"user-{number}")):
                for flag in UNDECIDED:
                    client.boolean(f"flag-{flag}", False)

    thread = threading.Thread(target=use)
    thread.start()
    try:
        assert client.wait_until_ready(60)
        yield
    finally:
        done.set()
        thread.join()
        client.close()


@pytest.fixture
def releases(deployment: Deployment) -> Iterator[dict[str, str]]:
    """The ids of three releases that differ in ``undecided``, with some traffic."""
    admin = deployment.admin
    deployment.start_server()
    started = {}
    for undecided in UNDECIDED:
        admin.create("flags", boolean_flag(f"flag-{undecided}", ""))
        admin.create("policies", policy(undecided))
        started[undecided] = admin.start_release(f"flag-{undecided}", "on", undecided, "a test").id
    with trickle(deployment.url, admin.sdk_token("application")):
        yield started


def test_a_stage_without_enough_traffic_ends_as_its_policy_says(
    deployment: Deployment, releases: dict[str, str]
) -> None:
    command = Tidegate({"TIDEGATE_URL": deployment.url, "TIDEGATE_TOKEN": TOKEN})
    advanced, rolled_back, held = (releases[undecided] for undecided in UNDECIDED)
    deployment.wait_until("it advances", advanced, lambda now: now.stage == 2)
    deployment.wait_until("it rolls back", rolled_back, lambda now: now.ended)
    deployment.wait_until("it is held", held, lambda now: now.state == "holding")

    shown = command.ok("release", "show", advanced)
    assert ", on time, not on evidence" in shown
    assert "noticed by now" in shown
    assert "might not have been noticed" in shown
    on_time = rf"on time after {SECONDS}, not on evidence: "
    explained = command.ok("release", "explain", advanced)
    assert "By now, even 1,000 times as many errors might not have been noticed." in explained
    assert re.search(f"The policy advances to stage 2 {on_time}", explained)
    assert re.search(f"advanced {on_time}", command.ok("release", "ledger", advanced))
    assert command.json("release", "show", advanced)["stage_basis"] == "time"
    (entry,) = [
        each["entry"]
        for each in deployment.admin.ledger(advanced)
        if each["entry"]["decision"]["action"] == "advance"
    ]
    assert entry["decision"]["basis"] == entry["after"]["stage_basis"] == "time"
    assert "too few samples" in entry["decision"]["reason"]

    shown = command.ok("release", "show", rolled_back)
    assert re.search(f"undecided after {SECONDS} in this stage, so the policy rolls", shown)
    assert "this is no evidence of harm" in command.ok("release", "explain", rolled_back)
    assert deployment.admin.release(rolled_back).state == "rolled_back"

    shown = command.ok("release", "show", held)
    assert re.search(f"undecided after {SECONDS} in this stage: a person must advance", shown)
    assert deployment.admin.release(held).stage == 1
    assert "all agree with the ledger" in command.ok("release", "replay", advanced)
