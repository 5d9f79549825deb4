"""A release whose treated users do not report is held, in real processes."""

from __future__ import annotations

from typing import Any

import pytest
import tidegate

from examples.shop.plan import boolean_flag
from tests.cli.calls import Tidegate
from tests.end_to_end.deployment import TOKEN, Deployment

USERS = 3_000
LOST, WHOLE = "lost", "whole"

POLICY = {
    "key": "quarter",
    "interval": "1s",
    "stages": [{"percentage": 25, "min_duration": "1h"}, {"percentage": 100}],
}


def use(client: tidegate.Client) -> None:
    """Serve every user twice; of flag ``lost``, half of the treated users never get an answer."""
    for number in (*range(USERS), *range(USERS)):
        if number % 750 == 0:
            client.flush()  # else the sample is thinned before its first users are named
        user = tidegate.Context(f"user-{number}")
        for flag in (LOST, WHOLE):
            with client.operation(user) as operation:
                treated = client.boolean(flag, False)
                if flag == LOST and treated and number % 2:
                    operation.cancel()


@pytest.fixture
def releases(deployment: Deployment) -> dict[str, str]:
    """The ids of both releases, by flag."""
    admin = deployment.admin
    deployment.start_server()
    admin.create("policies", POLICY)
    for flag in (LOST, WHOLE):
        admin.create("flags", boolean_flag(flag, ""))
    return {flag: admin.start_release(flag, "on", "quarter", "a test").id for flag in (LOST, WHOLE)}


def test_a_wrong_split_of_users_holds_the_release(
    deployment: Deployment, releases: dict[str, str]
) -> None:
    command = Tidegate({"TIDEGATE_URL": deployment.url, "TIDEGATE_TOKEN": TOKEN})

    def last_reason(flag: str) -> str:
        decision = command.json("release", "show", releases[flag])["progress"]["last_decision"]
        return str(decision["reason"])

    def arm(flag: str, name: str) -> Any:
        return command.json("release", "show", releases[flag])["progress"][f"stage_{name}"]

    client = tidegate.Client(deployment.url, deployment.admin.sdk_token("application"))
    try:
        assert client.wait_until_ready(60)
        use(client)
        client.flush()
        deployment.wait_until("it is held", releases[LOST], lambda now: now.state == "holding")
        reason = last_reason(LOST)
        assert reason.startswith("sample ratio: "), reason
        assert "users of this stage" in reason

        deployment.processes.wait_for(
            "both arms are read",
            lambda: (
                arm(WHOLE, "control")["outcomes"] + arm(WHOLE, "treatment")["outcomes"] == 2 * USERS
            ),
        )
        assert "sample ratio" not in last_reason(WHOLE)
        assert arm(WHOLE, "treatment")["sampled"] > arm(LOST, "treatment")["sampled"] > 0
    finally:
        client.close()
