"""`tidegate audit`: who changed what, when and why."""

from __future__ import annotations

from tests.cli.calls import Tidegate


def test_the_latest_change_is_the_last_line(checkout: Tidegate) -> None:
    checkout.ok("kill", "checkout", "--reason", "it hurts")
    lines = checkout.ok("audit").splitlines()
    assert lines[0].split() == ["when", "who", "what", "of", "environment", "reason"]
    assert "flag.kill" in lines[-1]
    assert "it hurts" in lines[-1]
    assert "flag.create" in checkout.ok("audit")


def test_a_part_of_the_log_is_said_to_be_one(checkout: Tidegate) -> None:
    said = checkout.run("audit", "--limit", "1")
    assert "The latest 1; --limit shows more." in said.err
    assert len(said.out.splitlines()) == 2
    assert [each["action"] for each in checkout.json("audit", "--limit", "1")] == ["policy.create"]


def test_the_server_has_a_log_of_its_own(tidegate: Tidegate) -> None:
    entries = tidegate.json("audit", "--server", "--limit", "500")
    project = tidegate.variables["TIDEGATE_PROJECT"]
    assert (entries[-1]["action"], entries[-1]["target"]) == ("project.create", project)


def test_a_reason_cannot_draw_on_the_terminal(checkout: Tidegate) -> None:
    checkout.ok("kill", "checkout", "--reason", "[bold]not bold[/bold] :smile:")
    assert "[bold]not bold[/bold] :smile:" in checkout.ok("audit")
