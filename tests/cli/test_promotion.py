"""`tidegate flag promote` and `flag copy`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.cli.calls import Tidegate


def test_flags_are_promoted_after_a_look_at_what_changes(checkout: Tidegate) -> None:
    checkout.ok("environment", "create", "staging")
    checkout.ok("flag", "set", "checkout", "--default", "on", "-e", "staging")
    places = ("--from", "staging", "--to", "production")
    planned = checkout.ok("flag", "promote", "checkout", *places, "--plan")
    assert 'default variant: "off" → "on"' in planned
    assert checkout.json("flag", "show", "checkout")["targeting"]["default"] == {"variant": "off"}
    assert "--yes" in checkout.refused("flag", "promote", "checkout", *places, status=2)
    checkout.ok("flag", "promote", "checkout", *places, "--yes")
    assert checkout.json("flag", "show", "checkout")["targeting"]["default"] == {"variant": "on"}
    again = checkout.run("flag", "promote", "checkout", *places, "--yes")
    assert "already" in again.err


def test_what_stays_in_the_other_environment_is_listed_with_commas(checkout: Tidegate) -> None:
    checkout.ok("environment", "create", "staging")
    checkout.ok("flag", "set", "checkout", "--default", "on", "-e", "staging")
    checkout.ok("release", "start", "checkout", "--treatment", "on", "--policy", "careful")
    checkout.ok("kill", "checkout", "--reason", "errors")
    places = ("--from", "staging", "--to", "production")
    planned = checkout.ok("flag", "promote", "checkout", *places, "--plan")
    assert "(stays killed, release " in planned


def test_a_promotion_that_is_not_possible_is_refused_with_the_reason(checkout: Tidegate) -> None:
    checkout.ok("environment", "create", "staging")
    checkout.ok("flag", "set", "checkout", "--default", "on", "-e", "staging")
    checkout.ok("release", "start", "checkout", "--treatment", "on", "--policy", "careful")
    promote = ("flag", "promote", "checkout", "--from", "staging", "--to", "production", "--yes")
    assert "cannot be promoted: " in checkout.refused(*promote, status=3)


def test_a_promotion_is_proposed_or_scheduled_as_it_was_planned(checkout: Tidegate) -> None:
    checkout.ok("environment", "create", "staging")
    checkout.ok("flag", "set", "checkout", "--default", "on", "-e", "staging")
    promote = ("flag", "promote", "checkout", "--from", "staging", "--to", "production", "--yes")
    assert "Change request " in checkout.ok(*promote, "--propose", "it works in staging")
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat(timespec="seconds")
    later = ("--at", tomorrow, "--reason", "it works in staging")
    assert "Scheduled change " in checkout.ok(*promote, *later)
    [request] = checkout.json("change-request", "list")
    assert [each["action"] for each in request["actions"]] == ["flag.promote"]
    assert checkout.json("flag", "show", "checkout")["targeting"]["default"] == {"variant": "off"}


def test_a_flag_is_copied_under_another_key(checkout: Tidegate) -> None:
    checkout.ok("flag", "set", "checkout", "--default", "on")
    checkout.ok("flag", "copy", "checkout", "checkout-2", "--name", "Second")
    shown = checkout.json("flag", "show", "checkout-2")
    assert (shown["name"], shown["targeting"]["default"]) == ("Second", {"variant": "on"})
