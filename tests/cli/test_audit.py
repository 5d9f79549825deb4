"""`tidegate audit`: the audit log."""

from __future__ import annotations

from tests.cli.calls import Tidegate


def test_the_latest_change_is_the_last_line(checkout: Tidegate) -> None:
    checkout.ok("kill", "checkout", "--reason", "customers cannot pay")
    lines = checkout.ok("audit").splitlines()
    assert lines[0].split() == ["when", "who", "action", "target", "environment", "reason"]
    assert "flag.kill" in lines[-1]
    assert "customers cannot pay" in lines[-1]
    assert "flag.create" in checkout.ok("audit")


def test_a_note_says_that_the_log_is_cut(checkout: Tidegate) -> None:
    result = checkout.run("audit", "--limit", "1")
    assert "Showing the latest 1; use --limit to show more." in result.err
    assert len(result.out.splitlines()) == 2
    assert [each["action"] for each in checkout.json("audit", "--limit", "1")] == ["policy.create"]


def test_the_server_has_its_own_log(tidegate: Tidegate) -> None:
    entries = tidegate.json("audit", "--server", "--limit", "500")
    project = tidegate.variables["TIDEGATE_PROJECT"]
    assert (entries[-1]["action"], entries[-1]["target"]) == ("project.create", project)


def test_markup_in_a_reason_is_printed_as_text(checkout: Tidegate) -> None:
    checkout.ok("kill", "checkout", "--reason", "[bold]not bold[/bold] :smile:")
    assert "[bold]not bold[/bold] :smile:" in checkout.ok("audit")
