"""`tidegate receipt` and `tidegate kills`."""

from __future__ import annotations

import tidegate as sdk

from tests.cli.calls import Tidegate, wait_until
from tests.cli.conftest import RunningServer
from tests.cli.test_kill import sdk_token


def test_a_receipt_says_how_many_instances_have_applied_a_version(
    checkout: Tidegate, server: RunningServer
) -> None:
    client = sdk.Client(server.url, sdk_token(checkout))
    try:
        wait_until("it reports", lambda: checkout.json("instances") != [])
        checkout.ok("kill", "checkout", "--reason", "errors")
        version = str(checkout.json("instances")[0]["version"])
        shown = checkout.ok("receipt", version)
        assert "1 of 1 live instances" in shown
        assert "flag.kill" in shown
    finally:
        client.close()
    listed = checkout.ok("kills")
    assert listed.splitlines()[1].split()[:3] == ["production", "checkout", "off"]
    assert "There is no receipt of version 999" in checkout.run("receipt", "999").err
    checkout.ok("restore", "checkout")
    assert "is killed" in checkout.run("kills").err
