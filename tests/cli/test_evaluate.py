"""`tidegate evaluate`: what a flag serves to a context, and why."""

from __future__ import annotations

import time

import pytest

from tests.cli.calls import Tidegate

RULES = """\
- id: pros
  when: {attribute: plan, operator: equals, value: pro}
  serve: {variant: on}
"""


@pytest.fixture
def pros(checkout: Tidegate) -> Tidegate:
    """A project whose flag is on for those with the plan `pro`."""
    checkout.ok("flag", "set", "checkout", "--rules", "-", stdin=RULES)
    return checkout


def test_the_result_comes_with_its_steps(pros: Tidegate) -> None:
    text = pros.ok("evaluate", "checkout", "--targeting-key", "ann", "--attribute", "plan=pro")
    assert text.splitlines() == [
        "Flag checkout in production: on = true (TARGETING_MATCH)",
        "  · The flag is not killed.",
        "  · The flag is enabled.",
        '  → The context meets rule pros: it serves on. (plan is "pro", which meets: equals "pro")',
    ]


def test_a_context_comes_from_a_file_and_options(pros: Tidegate) -> None:
    file = "{targetingKey: ann, plan: pro}"
    from_file = pros.ok("evaluate", "checkout", "--file", "-", stdin=file)
    assert "meets rule pros" in from_file
    overridden = ("evaluate", "checkout", "--file", "-", "--attribute", 'plan="free"')
    assert "does not meet rule pros" in pros.ok(*overridden, stdin=file)
    assert "NAME=VALUE" in pros.refused("evaluate", "checkout", "--attribute", "pro", status=2)


def test_an_earlier_time_shows_what_was_served_and_what_has_changed(pros: Tidegate) -> None:
    before = pros.json("flag", "history", "checkout")[-1]["at"]
    time.sleep(0.003)  # versions are told apart by milliseconds
    pros.ok("kill", "checkout", "--wait", "0s", "--reason", "too slow")
    arguments = ("evaluate", "checkout", "--attribute", "plan=pro", "--at", before)
    lines = pros.ok(*arguments).splitlines()
    assert lines[0].endswith("Z: on = true (TARGETING_MATCH)")
    assert [line for line in lines if line.startswith("Now: off = false (")]
    assert lines[-1].endswith("flag.kill  too slow")
    assert pros.json(*arguments)["changed_since"][0]["action"] == "flag.kill"
    unknown = pros.refused("evaluate", "checkout", "--at", "2999-01-01")
    assert "in the future" in unknown


def test_a_flag_that_did_not_exist_then_is_said_so(pros: Tidegate) -> None:
    text = pros.ok("evaluate", "checkout", "--at", "2020-01-01")
    assert "FLAG_NOT_FOUND" in text


def test_a_saved_context_and_all_flags_are_evaluated(pros: Tidegate) -> None:
    pros.ok("flag", "create", "banner")
    file = "{targetingKey: ann, plan: pro}"
    pros.ok("saved-context", "create", "paying", "--file", "-", stdin=file)
    assert '"pro"' in pros.ok("saved-context", "show", "paying")
    assert "paying" in pros.ok("saved-context", "list")
    assert "on = true" in pros.ok("evaluate", "checkout", "--saved", "paying")
    lines = pros.ok("evaluate", "--saved", "paying").splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["banner", "checkout"]
    assert lines[2].endswith("rule pros")
    assert "There is no context 'nobody'" in pros.refused("evaluate", "--saved", "nobody")
    split = pros.ok("flag", "set", "banner", "--default", "on=25,off=75")
    assert "updated" in split
    shown = pros.ok("evaluate", "banner", "--targeting-key", "ann")
    assert "The bucket is " in shown
