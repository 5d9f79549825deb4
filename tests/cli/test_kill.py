"""`tidegate kill` and `tidegate restore`: the kill switch and its receipt."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
import tidegate as sdk

from tests.cli.calls import Tidegate, wait_until
from tests.cli.conftest import RunningServer

APPLICATION = """
import signal, tidegate
client = tidegate.Client()
signal.pause()
"""


def sdk_token(tidegate: Tidegate) -> str:
    """Create an SDK token for the test's project."""
    project = tidegate.variables["TIDEGATE_PROJECT"]
    arguments = ("token", "create", "an application", "--role", "sdk", "--project", project)
    return tidegate.ok(*arguments).strip()


def live(tidegate: Tidegate) -> int:
    return len(tidegate.json("instances"))


@pytest.fixture
def clients(checkout: Tidegate, server: RunningServer) -> Iterator[list[sdk.Client]]:
    """Three SDK clients that report in the flag's environment."""
    token = sdk_token(checkout)
    made = [sdk.Client(server.url, token) for _ in range(3)]
    wait_until("all clients report", lambda: live(checkout) == 3)
    yield made
    for client in made:
        client.close()


def test_a_kill_prints_its_receipt(checkout: Tidegate, clients: list[sdk.Client]) -> None:
    checkout.ok("flag", "set", "checkout", "--default", "on")
    wait_until("it is on", lambda: all(each.boolean("checkout", False) for each in clients))
    output = checkout.ok("kill", "checkout", "--reason", "customers cannot pay")
    assert not any(each.boolean("checkout", True) for each in clients)
    first, receipt = output.splitlines()
    assert first.startswith("Flag checkout killed in production (project p-")
    assert first.endswith("): everyone gets off.")
    assert receipt.startswith("Applied by 3 of 3 live instances: median ")
    for text in ("95 %", "slowest", " ms"):
        assert text in receipt
    shown = checkout.ok("flag", "show", "checkout")
    assert "customers cannot pay" in shown
    assert "3 of 3 live instances" in shown


def test_the_receipt_is_in_the_json_output(checkout: Tidegate, clients: list[sdk.Client]) -> None:
    killed = checkout.json("kill", "checkout")
    assert killed["killed"]["reason"] == ""
    receipt = killed["receipt"]
    assert (receipt["live"], receipt["applied"], receipt["waiting"]) == (3, 3, [])
    assert receipt["median_ms"] <= receipt["p95_ms"] <= receipt["slowest_ms"]


def test_a_kill_that_a_live_instance_has_not_applied_exits_with_5(
    checkout: Tidegate, server: RunningServer
) -> None:
    variables = {"TIDEGATE_URL": server.url, "TIDEGATE_TOKEN": sdk_token(checkout)}
    application = subprocess.Popen(
        [sys.executable, "-c", APPLICATION], env={**os.environ, **variables}
    )
    try:
        wait_until("it reports", lambda: live(checkout) == 1)
        application.send_signal(signal.SIGSTOP)
        result = checkout.run("kill", "checkout", "--wait", "300ms")
        assert result.status == 5
        assert "Applied by 0 of 1 live instances." in result.out
        assert "in force, but these instances have not applied it yet" in result.err
        assert f"pid {application.pid}" in result.err
        now = checkout.ok("kill", "checkout", "--wait", "0s")
        assert "Applied by 0 of 1 live instances so far." in now
        application.send_signal(signal.SIGCONT)
        assert "Applied by 1 of 1" in checkout.ok("kill", "checkout", "--wait", "20s")
    finally:
        application.kill()
        application.wait()


def test_a_kill_without_live_instances_cannot_be_confirmed(checkout: Tidegate) -> None:
    output = checkout.ok("kill", "checkout")
    assert "There are no live instances that could confirm the kill." in output


def test_a_kill_stops_the_release_and_a_restore_leaves_it_paused(checkout: Tidegate) -> None:
    arguments = ("release", "start", "checkout", "--treatment", "on", "--policy", "careful")
    id = checkout.json(*arguments)["id"]
    assert f"Its release {id} is stopped." in checkout.ok("kill", "checkout")
    output = checkout.ok("restore", "checkout", "--reason", "seen it")
    assert "Flag checkout restored in production" in output
    assert f"Continue it with `tidegate release resume {id}`" in output
    assert checkout.json("release", "show", id)["state"] == "paused"
    reasons = [each["reason"] for each in checkout.json("audit", "--limit", "2")]
    assert reasons == ["", "seen it"]


def test_a_restore_without_a_kill_is_refused(checkout: Tidegate) -> None:
    assert "is not killed" in checkout.refused("restore", "checkout")
    checkout.ok("kill", "checkout")
    assert checkout.json("restore", "checkout")["killed"] is None


def test_a_refused_kill_says_why(checkout: Tidegate) -> None:
    refused = checkout.refused("kill", "chekout")
    assert "no flag 'chekout'" in refused
    assert "Did you mean 'checkout'?" in refused
    assert "no environment 'staging'" in checkout.refused("kill", "checkout", "-e", "staging")
    assert "is not a duration" in checkout.refused("kill", "checkout", "--wait", "10", status=2)
    reader = checkout.with_variables(
        TIDEGATE_TOKEN=checkout.ok("token", "create", "r", "--role", "reader", "--server").strip()
    )
    assert "needs the permission kill" in reader.refused("kill", "checkout")


def test_a_kill_needs_no_home_folder_and_no_contexts_file(
    checkout: Tidegate, tmp_path: os.PathLike[str]
) -> None:
    broken = checkout.with_variables(TIDEGATE_CONFIG=str(tmp_path), HOME="", XDG_CONFIG_HOME="")
    assert "Flag checkout killed" in broken.ok("kill", "checkout")


def test_a_tag_is_killed_and_restored_whole(tidegate: Tidegate, clients: list[sdk.Client]) -> None:
    for key in ("pay-by-link", "pay-later"):
        tidegate.ok("flag", "create", key, "--tag", "payments")
    output = tidegate.ok(
        *("kill", "--tag", "payments", "--reason", "the bank is down"),
        *("--link", "https://incidents.example.com/1"),
    )
    first, receipt = output.splitlines()
    assert first.startswith("Killed 2 flags in production (project p-")
    assert first.endswith("): pay-by-link, pay-later.")
    assert receipt.startswith("Applied by 3 of 3 live instances")
    assert {each["killed"]["tag"] for each in tidegate.json("kills")} == {"payments"}
    restored = tidegate.ok("restore", "--tag", "payments", "--reason", "it is back")
    assert "pay-by-link, pay-later" in restored
    assert tidegate.json("kills") == []


def test_a_kill_names_a_flag_or_a_tag(tidegate: Tidegate) -> None:
    for arguments in (("kill",), ("kill", "checkout", "--tag", "payments"), ("restore",)):
        refused = tidegate.refused(*arguments, status=2)
        assert "Name a flag, or a tag with --tag." in refused
