"""`tidegate policy`: list, show, put and delete policies."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.calls import Tidegate
from tests.cli.conftest import POLICY


def test_a_policy_is_created_and_replaced_from_a_file(tidegate: Tidegate, tmp_path: Path) -> None:
    assert "No policies" in tidegate.run("policy", "list").err
    file = tmp_path / "careful.yaml"
    file.write_text(POLICY)
    assert "created" in tidegate.ok("policy", "put", str(file))
    assert "unchanged" in tidegate.ok("policy", "put", str(file))
    file.write_text(POLICY.replace("bake: 1h", "bake: 2h"))
    assert "replaced, revision 2" in tidegate.ok("policy", "put", str(file))
    assert tidegate.json("policy", "show", "careful")["bake"] == "2h"


def test_a_policy_is_shown_with_its_stages_and_checks(checkout: Tidegate) -> None:
    output = checkout.ok("policy", "show", "careful")
    assert "5 % of everyone" in output
    assert "error_rate against control: tolerance relative=0.05 absolute=0" in output
    assert "hold after 10m" in output
    listed = checkout.ok("policy", "list")
    assert "5 %, 50 %, 100 %" in listed
    assert [each["key"] for each in checkout.json("policy", "list")] == ["careful"]


def test_error_rate_off_is_shown_and_warned_of(checkout: Tidegate) -> None:
    policy = POLICY.replace("key: careful", "key: blind") + "checks: [{metric: latency}]\n"
    put = checkout.run("policy", "put", "-", stdin=policy + "error_rate: off\n")
    assert "Warning: /error_rate: error_rate is off" in put.err
    assert "off: errors are not compared with control" in checkout.ok("policy", "show", "blind")
    started = checkout.run(
        *("release", "start", "checkout", "--treatment", "on", "--policy", "blind")
    )
    assert "Warning: /error_rate: error_rate is off" in started.err
    assert "error_rate is off" in checkout.ok("release", "explain", "checkout")
    replaced = checkout.run("policy", "put", "-", stdin=policy)
    assert replaced.err == ""
    shown = checkout.ok("policy", "show", "blind")
    assert "error_rate against control: tolerance relative=0.05 absolute=0" in shown


def test_a_shown_policy_can_be_put_unless_it_has_changed_since(
    checkout: Tidegate, tmp_path: Path
) -> None:
    mine = checkout.json("policy", "show", "careful")
    theirs = {**mine, "name": "Theirs"}
    checkout.ok("policy", "put", "-", stdin=json.dumps(theirs))
    output = checkout.refused("policy", "put", "-", stdin=json.dumps({**mine, "name": "Mine"}))
    assert "Someone changed policy careful since you read it" in output
    assert "Nothing changed" in output
    assert checkout.json("policy", "show", "careful")["name"] == "Theirs"


def test_refusals_name_each_field(tidegate: Tidegate) -> None:
    wrong = POLICY.replace("percentage: 50", "percentage: 150").replace("interval", "intervall")
    output = tidegate.refused("policy", "put", "-", stdin=wrong)
    assert "/intervall: There is no such field" in output
    assert "/stages/1/percentage: A percentage is between 0 and 100" in output
    shrinking = POLICY.replace("percentage: 50", "percentage: 1")
    assert "/stages/1" in tidegate.refused("policy", "put", "-", stdin=shrinking)
    assert "no `key`" in tidegate.refused("policy", "put", "-", stdin="{bake: 1h}", status=2)
    twice = tidegate.refused("policy", "put", "-", stdin="key: a\nkey: b\n", status=2)
    assert "standard input has the key 'key' on line 2 again" in twice
    assert tidegate.json("policy", "list") == []


def test_a_policy_is_deleted(checkout: Tidegate) -> None:
    assert "confirm with --yes" in checkout.refused("policy", "delete", "careful", status=2)
    checkout.ok("policy", "delete", "careful", "--yes")
    assert checkout.json("policy", "list") == []
