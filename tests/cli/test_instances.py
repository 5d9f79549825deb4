"""`tidegate instances`: the processes that run an SDK."""

from __future__ import annotations

import os

import tidegate as sdk

from tests.cli.calls import Tidegate, wait_until
from tests.cli.conftest import RunningServer
from tests.cli.test_kill import sdk_token


def test_requests_with_a_token_that_does_not_work_are_listed(
    checkout: Tidegate, server: RunningServer
) -> None:
    unknown = f"tg_sdk_0123456789ab_{'0' * 48}"
    client = sdk.Client(server.url, unknown)
    try:
        wait_until("it is refused", lambda: checkout.json("instances", "--refused") != [])
        assert "This token is unknown or was deleted" in checkout.ok("instances", "--refused")
    finally:
        client.close()


def test_instances_are_listed_with_their_process(checkout: Tidegate, server: RunningServer) -> None:
    assert "No live instances in production" in checkout.run("instances").err
    client = sdk.Client(server.url, sdk_token(checkout))
    try:
        wait_until("it reports", lambda: checkout.json("instances") != [])
        (instance,) = checkout.json("instances")
        assert (instance["pid"], instance["live"]) == (os.getpid(), True)
        assert instance["samples"] is True
        heading, line = checkout.ok("instances", "--all").splitlines()
        assert heading.split()[0] == "instance"
        assert instance["id"] in line
        assert f" {os.getpid()} " in line
    finally:
        client.close()
