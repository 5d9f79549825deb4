"""`tidegate flag`: flags, and what they serve in an environment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.calls import Tidegate


def test_a_boolean_flag_needs_only_a_key(tidegate: Tidegate) -> None:
    output = tidegate.ok("flag", "create", "fast-checkout", "--type", "boolean")
    assert "fast-checkout (boolean: on, off)" in output
    shown = tidegate.json("flag", "show", "fast-checkout")
    assert shown["targeting"]["default"] == {"variant": "off"}


def test_variants_are_given_as_names_with_values(tidegate: Tidegate) -> None:
    tidegate.ok(
        *("flag", "create", "colour", "--type", "string", "--name", "Colour", "--tag", "ui"),
        *("--description", "Of the button", "--variant", "red=#f00", "--variant", "true=true"),
    )
    shown = tidegate.json("flag", "show", "colour")
    assert shown["variants"] == [
        {"key": "red", "value": "#f00"},
        {"key": "true", "value": "true"},
    ]
    assert (shown["name"], shown["description"], shown["tags"]) == (
        "Colour",
        "Of the button",
        ["ui"],
    )
    tidegate.ok(
        *("flag", "create", "limits", "--type", "object"),
        *("--variant", 'low={"rate": 1.5}', "--variant", "none={}"),
    )
    assert tidegate.json("flag", "show", "limits")["variants"][0]["value"] == {"rate": 1.5}


def test_a_flag_is_created_from_a_file(tidegate: Tidegate, tmp_path: Path) -> None:
    file = tmp_path / "flag.yaml"
    file.write_text("type: number\nvariants:\n  - {key: on, value: 1}\n  - {key: off, value: 0}\n")
    made = tidegate.json("flag", "create", "weight", "--file", str(file), "--name", "Weight")
    assert [each["key"] for each in made["variants"]] == ["on", "off"]
    assert made["name"] == "Weight"


def test_a_flag_is_created_from_another_flags_document(tidegate: Tidegate) -> None:
    first = tidegate.json("flag", "create", "first", "--name", "The first")
    tidegate.ok("flag", "create", "second", "--file", "-", stdin=json.dumps(first))
    second = tidegate.json("flag", "show", "second")
    assert (second["name"], second["salt"]) == ("The first", "first")


def test_refusals_name_each_field_and_its_fix(tidegate: Tidegate) -> None:
    output = tidegate.refused("flag", "create", "BAD", "--type", "number", "--variant", 'a="x"')
    assert "/key: A key is 1 to 100 lower-case letters" in output
    tidegate.ok("flag", "create", "good")
    assert "Flag 'good' already exists" in tidegate.refused("flag", "create", "good")
    output = tidegate.refused("flag", "create", "x", "--variant", "on", status=2)
    assert "NAME=VALUE" in output
    output = tidegate.refused(
        "flag", "create", "x", "--type", "number", "--variant", "a=b", status=2
    )
    assert "not JSON" in output


def test_the_list_shows_what_each_flag_serves(tidegate: Tidegate, tmp_path: Path) -> None:
    assert "No flags" in tidegate.run("flag", "list").err
    for key in ("a", "b", "c", "d"):
        tidegate.ok("flag", "create", key)
    tidegate.ok("flag", "set", "a", "--default", "on=25,off=75")
    tidegate.ok("flag", "disable", "b")
    tidegate.ok("kill", "c")
    (tmp_path / "rules.yaml").write_text(RULES)
    tidegate.ok("flag", "set", "d", "--rules", str(tmp_path / "rules.yaml"))
    lines = tidegate.ok("flag", "list").splitlines()
    assert [line.split(maxsplit=2)[0] for line in lines] == ["flag", "a", "b", "c", "d"]
    for line, text in zip(
        lines[1:], ("on 25 %, off 75 %", "off (disabled)", "off (killed)", "1 rule"), strict=True
    ):
        assert text in line
    listed = tidegate.json("flag", "list")
    assert listed[0]["targeting"]["default"]["split"][0] == {"variant": "on", "weight": 25}


RULES = """\
- id: staff
  when:
    all:
      - {attribute: plan, operator: equals, value: pro}
      - none: [{attribute: country, operator: in, value: [DE, FR]}]
  serve: {variant: on}
"""


def test_rules_are_read_from_a_file_and_shown_as_text(tidegate: Tidegate, tmp_path: Path) -> None:
    tidegate.ok("flag", "create", "checkout")
    file = tmp_path / "rules.yaml"
    file.write_text(RULES)
    assert "revision 2" in tidegate.ok("flag", "set", "checkout", "--rules", str(file))
    # In YAML 1.1 the variant `on` would have become true.
    shown = tidegate.json("flag", "show", "checkout")["targeting"]
    assert shown["rules"][0]["serve"] == {"variant": "on"}
    output = tidegate.ok("flag", "show", "checkout")
    assert 'plan equals "pro" and not (country in ["DE", "FR"]): on' in output
    as_json = json.dumps(shown["rules"])
    assert "unchanged" in tidegate.ok("flag", "set", "checkout", "--rules", "-", stdin=as_json)


def test_invalid_rules_change_nothing(tidegate: Tidegate, tmp_path: Path) -> None:
    tidegate.ok("flag", "create", "checkout")
    before = tidegate.json("flag", "show", "checkout")
    file = tmp_path / "rules.json"
    file.write_text('[{"id": "a", "when": {"segment": "none-such"}, "serve": {"variant": "of"}}]')
    output = tidegate.refused("flag", "set", "checkout", "--rules", str(file))
    assert "/rules/0/serve/variant" in output
    assert "/rules/0/when/segment" in output
    file.write_text("[")
    assert "is not JSON" in tidegate.refused(
        "flag", "set", "checkout", "--rules", str(file), status=2
    )
    output = tidegate.refused("flag", "set", "checkout", "--rules", "nowhere.yaml", status=2)
    assert "Cannot read nowhere.yaml" in output
    assert tidegate.json("flag", "show", "checkout") == before


def test_set_changes_only_the_given_fields(tidegate: Tidegate) -> None:
    tidegate.ok("flag", "create", "base")
    tidegate.ok("flag", "create", "colour", "--variant", "a=true", "--variant", "b=false")
    tidegate.ok(
        *("flag", "set", "colour", "--off-variant", "b", "--kill-variant", "a"),
        *("--default", "a", "--prerequisite", "base=on,off"),
    )
    shown = tidegate.json("flag", "show", "colour")["targeting"]
    assert shown["prerequisites"] == [{"flag": "base", "variants": ["on", "off"]}]
    assert (shown["off_variant"], shown["kill_variant"], shown["default"]) == (
        "b",
        "a",
        {"variant": "a"},
    )
    assert "base serves on or off" in tidegate.ok("flag", "show", "colour")
    tidegate.ok("flag", "set", "colour", "--kill-variant", "", "--no-prerequisites")
    shown = tidegate.json("flag", "show", "colour")["targeting"]
    assert (shown["kill_variant"], shown["prerequisites"]) == (None, [])


@pytest.mark.parametrize("given", ["on=x,off=50", "on=50,off"])
def test_a_split_needs_percentages(tidegate: Tidegate, given: str) -> None:
    output = tidegate.refused("flag", "set", "any", "--default", given, status=2)
    assert "on=25,off=75" in output


def test_a_split_must_sum_to_100(tidegate: Tidegate) -> None:
    tidegate.ok("flag", "create", "checkout")
    output = tidegate.refused("flag", "set", "checkout", "--default", "on=25,off=70")
    assert "/default/split" in output


def test_a_change_without_options_is_a_usage_error(tidegate: Tidegate) -> None:
    message = tidegate.refused("flag", "edit", "x", status=2)
    assert "Nothing to change. Use one of --variant, --remove-variant, --name," in message
    assert "--output" not in message
    assert "Nothing to change" in tidegate.refused("flag", "set", "x", status=2)
    assert "FLAG=VARIANT" in tidegate.refused(
        "flag", "set", "x", "--prerequisite", "base", status=2
    )


def test_a_flag_is_disabled_and_enabled(tidegate: Tidegate) -> None:
    tidegate.ok("flag", "create", "checkout")
    assert "unchanged" in tidegate.ok("flag", "enable", "checkout")
    assert "updated" in tidegate.ok("flag", "disable", "checkout")
    assert not tidegate.json("flag", "show", "checkout")["targeting"]["enabled"]
    assert tidegate.json("flag", "enable", "checkout")["enabled"]


def test_targeting_changes_in_one_environment_only(tidegate: Tidegate) -> None:
    tidegate.ok("environment", "create", "staging")
    tidegate.ok("flag", "create", "checkout")
    tidegate.ok("flag", "set", "checkout", "--default", "on", "-e", "staging")
    staging = tidegate.with_variables(TIDEGATE_ENVIRONMENT="staging")
    assert staging.json("flag", "show", "checkout")["targeting"]["default"] == {"variant": "on"}
    assert tidegate.json("flag", "show", "checkout")["targeting"]["default"] == {"variant": "off"}


def test_a_flag_is_edited_in_every_environment(tidegate: Tidegate) -> None:
    tidegate.ok(
        *("flag", "create", "size", "--type", "number"),
        *("--variant", "small=1", "--variant", "medium=5"),
    )
    tidegate.ok(
        *("flag", "edit", "size", "--variant", "large=10", "--variant", "small=2"),
        *("--name", "Size", "--tag", "a", "--tag", "b"),
    )
    shown = tidegate.json("flag", "show", "size")
    assert shown["variants"] == [
        {"key": "small", "value": 2},
        {"key": "medium", "value": 5},
        {"key": "large", "value": 10},
    ]
    assert (shown["name"], shown["tags"]) == ("Size", ["a", "b"])
    tidegate.ok("flag", "edit", "size", "--remove-variant", "large", "--description", "Of it")
    keys = [each["key"] for each in tidegate.json("flag", "show", "size")["variants"]]
    assert keys == ["small", "medium"]
    assert "no variant 'huge'" in tidegate.refused(
        "flag", "edit", "size", "--remove-variant", "huge", status=2
    )
    output = tidegate.refused(
        "flag", "edit", "size", "--remove-variant", "small", "--variant", "x=1"
    )
    assert "small" in output  # the default rule serves it
    assert "NAME=VALUE" in tidegate.refused("flag", "edit", "size", "--variant", "x", status=2)


def test_a_flag_is_deleted_after_confirmation(tidegate: Tidegate) -> None:
    tidegate.ok("flag", "create", "checkout")
    assert "confirm with --yes" in tidegate.refused("flag", "delete", "checkout", status=2)
    assert "not archived" in tidegate.refused("flag", "delete", "checkout", "--yes")
    assert "deleted" in tidegate.ok("flag", "delete", "checkout", "--yes", "--force")
    assert "no flag 'checkout'" in tidegate.refused("flag", "show", "checkout")


def test_a_key_with_slashes_does_not_reach_another_path(tidegate: Tidegate) -> None:
    tidegate.refused("flag", "show", "../policies/careful")
    tidegate.refused("flag", "delete", "x/../../flags", "--yes")


def test_a_flag_is_server_side_unless_made_client_side(tidegate: Tidegate) -> None:
    assert tidegate.json("flag", "create", "a")["client_side"] is False
    assert tidegate.json("flag", "create", "b", "--client-side")["client_side"] is True
    assert tidegate.json("flag", "edit", "a", "--client-side")["client_side"] is True
    assert tidegate.json("flag", "edit", "a", "--name", "A")["client_side"] is True
    assert tidegate.json("flag", "edit", "a", "--server-side")["client_side"] is False


def test_metadata_is_written_as_names_with_values(tidegate: Tidegate) -> None:
    made = tidegate.json(
        *("flag", "create", "checkout", "--metadata", "owner=payments", "--metadata", "priority=2"),
        *("--metadata", 'build="2"', "--metadata", "public=true", "--metadata", "range=[1]"),
    )
    assert made["metadata"] == {
        "owner": "payments", "priority": 2, "build": "2", "public": True, "range": "[1]",
    }  # fmt: skip
    tidegate.ok(
        *("flag", "edit", "checkout", "--metadata", "owner=search"),
        *("--remove-metadata", "range", "--remove-metadata", "build"),
    )
    shown = tidegate.json("flag", "show", "checkout")
    assert shown["metadata"] == {"owner": "search", "priority": 2, "public": True}
    assert 'owner = "search", priority = 2, public = true' in tidegate.ok(
        "flag", "show", "checkout"
    )
    assert tidegate.json("flag", "edit", "checkout", "--name", "C")["metadata"] == shown["metadata"]


def test_metadata_that_cannot_be_changed_is_named(tidegate: Tidegate) -> None:
    tidegate.ok("flag", "create", "checkout")
    output = tidegate.refused("flag", "edit", "checkout", "--remove-metadata", "owner", status=2)
    assert "no metadata 'owner'" in output
    output = tidegate.refused("flag", "edit", "checkout", "--metadata", "owner", status=2)
    assert "NAME=VALUE" in output
    output = tidegate.refused("flag", "edit", "checkout", "--metadata", "stage=1")
    assert "/metadata/stage" in output


def test_a_flag_has_an_owner_and_a_lifetime(tidegate: Tidegate) -> None:
    tidegate.ok("flag", "create", "a", "--owner", "payments", "--temporary", "--tag", "shop")
    tidegate.ok("flag", "create", "b")
    tidegate.ok("flag", "edit", "a", "--expected-end", "2027-01-31")
    shown = tidegate.ok("flag", "show", "a")
    assert "payments" in shown
    assert "temporary, expected to end on 2027-01-31" in shown
    assert "permanent" in tidegate.ok("flag", "show", "b")
    assert [each["key"] for each in tidegate.json("flag", "list", "--owner", "payments")] == ["a"]
    assert [each["key"] for each in tidegate.json("flag", "list", "--tag", "shop")] == ["a"]
    assert tidegate.json("flag", "list", "--owner", "nobody") == []
    refused = tidegate.refused("flag", "edit", "b", "--expected-end", "2027-01-31")
    assert "Only a temporary flag has an expected end" in refused
    edited = tidegate.json("flag", "edit", "a", "--permanent")
    assert (edited["temporary"], edited["expected_end"]) == (False, None)
    assert edited["owner"] == "payments"


def test_a_flag_is_archived_and_unarchived(tidegate: Tidegate) -> None:
    tidegate.ok("flag", "create", "a")
    tidegate.ok("flag", "create", "b")
    assert "Flag a archived" in tidegate.ok("flag", "archive", "a", "--reason", "It is over.")
    assert [each["key"] for each in tidegate.json("flag", "list")] == ["b"]
    assert [each["key"] for each in tidegate.json("flag", "list", "--archived")] == ["a"]
    assert "nothing (archived)" in tidegate.ok("flag", "list", "--archived")
    shown = tidegate.ok("flag", "show", "a")
    assert "It is over." in shown
    assert "applications get the default in their code" in shown
    tidegate.ok("flag", "edit", "a", "--name", "A")
    assert tidegate.json("flag", "show", "a")["archived"]["reason"] == "It is over."
    assert "Flag a unarchived" in tidegate.ok("flag", "unarchive", "a")
    assert "serves now" in tidegate.ok("flag", "show", "a")
    assert "archived" not in tidegate.ok("flag", "show", "a")
    tidegate.ok("flag", "archive", "a")
    assert "deleted" in tidegate.ok("flag", "delete", "a", "--yes")
