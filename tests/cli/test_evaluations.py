"""`tidegate flag evaluations`, `flag stale`, `flag unknown`: what applications ask for."""

from __future__ import annotations

import tidegate as sdk

from tests.cli.calls import Tidegate, wait_until
from tests.cli.conftest import RunningServer
from tests.cli.test_kill import sdk_token


def test_what_an_application_asked_is_shown(checkout: Tidegate, server: RunningServer) -> None:
    assert "No flag is stale" in checkout.run("flag", "stale").err
    assert "never" in checkout.ok("flag", "show", "checkout")
    client = sdk.Client(server.url, sdk_token(checkout))
    assert client.wait_until_ready(60)
    for _ in range(5):
        client.boolean("checkout", True, "ann")
    client.boolean("chekout", True, "ann")
    client.close()
    wait_until(
        "the report", lambda: bool(checkout.json("flag", "evaluations", "checkout")["askers"])
    )
    shown = checkout.ok("flag", "evaluations", "checkout", "--step", "hour")
    assert "off" in shown
    assert "Asked for by" in shown
    assert "chekout" in checkout.ok("flag", "unknown")
    archived = checkout.run("flag", "archive", "checkout")
    assert "Asked for in production" in archived.err
    refused = checkout.refused("flag", "delete", "checkout", "--yes")
    assert "force" in refused
    checkout.ok("flag", "delete", "checkout", "--force", "--yes")
