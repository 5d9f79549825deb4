"""`tidegate kill` and `restore`: everyone off, at once, and seen to be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
import tidegate as sdk

from tests.cli.calls import Tidegate, wait_until
from tests.cli.conftest import Served

APPLICATION = """
import signal, tidegate
client = tidegate.Client()
signal.pause()
"""


def sdk_token(tidegate: Tidegate) -> str:
    """A token for an application in the test's project."""
    project = tidegate.variables["TIDEGATE_PROJECT"]
    words = ("token", "create", "an application", "--role", "sdk", "--project", project)
    return tidegate.ok(*words).strip()


def live(tidegate: Tidegate) -> int:
    return len(tidegate.json("instances"))


@pytest.fixture
def clients(checkout: Tidegate, served: Served) -> Iterator[list[sdk.Client]]:
    """Three clients of the flag's environment that report."""
    token = sdk_token(checkout)
    made = [sdk.Client(served.url, token) for _ in range(3)]
    wait_until("all clients report", lambda: live(checkout) == 3)
    yield made
    for client in made:
        client.close()


def test_a_kill_comes_with_its_receipt(checkout: Tidegate, clients: list[sdk.Client]) -> None:
    checkout.ok("flag", "set", "checkout", "--default", "on")
    wait_until("it is on", lambda: all(each.boolean("checkout", False) for each in clients))
    said = checkout.ok("kill", "checkout", "--reason", "customers cannot pay")
    assert not any(each.boolean("checkout", True) for each in clients)
    first, receipt = said.splitlines()
    assert first.startswith("checkout is killed in production of p-")
    assert first.endswith("everyone gets off.")
    assert receipt.startswith("Applied by 3 of 3 live processes: median ")
    for words in ("95 %", "slowest", " ms"):
        assert words in receipt
    shown = checkout.ok("flag", "show", "checkout")
    assert "customers cannot pay" in shown
    assert "3 of 3 live processes" in shown


def test_the_receipt_is_read_by_programs_too(checkout: Tidegate, clients: list[sdk.Client]) -> None:
    killed = checkout.json("kill", "checkout")
    assert killed["killed"]["reason"] == ""
    receipt = killed["receipt"]
    assert (receipt["live"], receipt["applied"], receipt["waiting"]) == (3, 3, [])
    assert receipt["median_ms"] <= receipt["p95_ms"] <= receipt["slowest_ms"]


def test_a_kill_that_a_live_process_has_not_applied_is_not_believed(
    checkout: Tidegate, served: Served
) -> None:
    variables = {"TIDEGATE_URL": served.url, "TIDEGATE_TOKEN": sdk_token(checkout)}
    application = subprocess.Popen(
        [sys.executable, "-c", APPLICATION], env={**os.environ, **variables}
    )
    try:
        wait_until("it reports", lambda: live(checkout) == 1)
        application.send_signal(signal.SIGSTOP)
        said = checkout.run("kill", "checkout", "--wait", "300ms")
        assert said.status == 5
        assert "Applied by 0 of 1 live processes." in said.out
        assert "in force, and these live processes have not applied it yet" in said.err
        assert f"pid {application.pid}" in said.err
        now = checkout.ok("kill", "checkout", "--wait", "0s")
        assert "Applied by 0 of 1 live processes so far." in now
        application.send_signal(signal.SIGCONT)
        assert "Applied by 1 of 1" in checkout.ok("kill", "checkout", "--wait", "20s")
    finally:
        application.kill()
        application.wait()


def test_a_kill_where_nobody_reports_says_so(checkout: Tidegate) -> None:
    said = checkout.ok("kill", "checkout")
    assert "No process with the SDK reports here at present" in said


def test_a_kill_stops_the_release_and_a_restore_leaves_it_paused(checkout: Tidegate) -> None:
    words = ("release", "start", "checkout", "--treatment", "on", "--policy", "careful")
    id = checkout.json(*words)["id"]
    assert f"Its release {id} is stopped." in checkout.ok("kill", "checkout")
    said = checkout.ok("restore", "checkout", "--reason", "seen it")
    assert "checkout is restored in production" in said
    assert f"`tidegate release resume {id}` goes on" in said
    assert checkout.json("release", "show", id)["state"] == "paused"
    reasons = [each["reason"] for each in checkout.json("audit", "--limit", "2")]
    assert reasons == ["", "seen it"]


def test_a_restore_without_a_kill_is_refused(checkout: Tidegate) -> None:
    assert "is not killed" in checkout.refused("restore", "checkout")
    checkout.ok("kill", "checkout")
    assert checkout.json("restore", "checkout")["killed"] is None


def test_what_cannot_be_killed_says_why(checkout: Tidegate) -> None:
    assert "no flag 'chekout'" in checkout.refused("kill", "chekout")
    assert "no environment 'staging'" in checkout.refused("kill", "checkout", "-e", "staging")
    assert "no span of time" in checkout.refused("kill", "checkout", "--wait", "10", status=2)
    reader = checkout.having(
        TIDEGATE_TOKEN=checkout.ok("token", "create", "r", "--role", "reader").strip()
    )
    assert "needs the role writer" in reader.refused("kill", "checkout")


def test_a_kill_needs_no_file_no_home_and_no_working_folder_of_its_own(
    checkout: Tidegate, tmp_path: os.PathLike[str]
) -> None:
    broken = checkout.having(TIDEGATE_CONFIG=str(tmp_path), HOME="", XDG_CONFIG_HOME="")
    assert "is killed" in broken.ok("kill", "checkout")
