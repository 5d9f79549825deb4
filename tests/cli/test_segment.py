"""`tidegate segment`: segments and their keys."""

from __future__ import annotations

import gzip
import json
from hashlib import sha256
from pathlib import Path

from tests.cli.calls import Tidegate

WHEN = "{attribute: plan, operator: equals, value: pro}"


def test_a_segment_is_created_from_conditions_and_keys(tidegate: Tidegate, tmp_path: Path) -> None:
    file = tmp_path / "when.yaml"
    file.write_text(WHEN)
    tidegate.ok(
        *("segment", "create", "testers", "--when", str(file), "--name", "Testers"),
        *("--include", "ann", "--include", "bob", "--exclude", "eve"),
    )
    shown = tidegate.json("segment", "show", "testers")
    assert shown["when"] == {"attribute": "plan", "operator": "equals", "value": "pro"}
    assert (shown["included"], shown["excluded"]) == (["ann", "bob"], ["eve"])
    output = tidegate.ok("segment", "show", "testers")
    assert 'plan equals "pro"' in output
    assert "ann, bob" in output
    assert "testers" in tidegate.ok("segment", "list")
    assert [each["key"] for each in tidegate.json("segment", "list")] == ["testers"]


def test_a_segment_is_created_from_a_document(tidegate: Tidegate) -> None:
    made = tidegate.json("segment", "create", "first", "--include", "ann")
    tidegate.ok("segment", "create", "second", "--file", "-", stdin=json.dumps(made))
    assert tidegate.json("segment", "show", "second")["included"] == ["ann"]


def test_an_empty_list_says_so(tidegate: Tidegate) -> None:
    assert "No segments" in tidegate.run("segment", "list").err
    assert tidegate.json("segment", "list") == []


def test_keys_are_included_and_excluded(tidegate: Tidegate) -> None:
    tidegate.ok("segment", "create", "testers")
    assert "2 keys included, 0 excluded" in tidegate.ok(
        "segment", "include", "testers", "ann", "bob"
    )
    assert "unchanged" in tidegate.ok("segment", "include", "testers", "ann")
    # Excluding a key removes it from the included keys.
    assert "1 key included, 1 excluded" in tidegate.ok("segment", "exclude", "testers", "ann")
    shown = tidegate.json("segment", "include", "testers", "ann")
    assert (shown["included"], shown["excluded"]) == (["bob", "ann"], [])
    shown = tidegate.json("segment", "include", "--remove", "testers", "ann", "nobody")
    assert (shown["included"], shown["excluded"]) == (["bob"], [])


def test_a_long_list_of_keys_is_cut(tidegate: Tidegate) -> None:
    tidegate.ok("segment", "create", "many")
    tidegate.ok("segment", "include", "many", *(f"user-{number}" for number in range(25)))
    output = tidegate.ok("segment", "show", "many")
    assert "user-19 and 5 more" in output
    assert len(tidegate.json("segment", "show", "many")["included"]) == 25


def test_conditions_are_changed_and_removed(tidegate: Tidegate) -> None:
    tidegate.ok("segment", "create", "testers", "--include", "ann")
    tidegate.ok("segment", "edit", "testers", "--when", "-", "--name", "T", stdin=WHEN)
    shown = tidegate.json("segment", "show", "testers")
    assert (shown["when"]["attribute"], shown["name"], shown["included"]) == ("plan", "T", ["ann"])
    assert "unchanged" in tidegate.ok("segment", "edit", "testers", "--name", "T")
    assert tidegate.json("segment", "edit", "testers", "--no-conditions")["when"] is None
    assert "Nothing to change" in tidegate.refused("segment", "edit", "testers", status=2)


def test_refusals_name_the_field(tidegate: Tidegate) -> None:
    output = tidegate.refused(
        "segment", "create", "x", "--when", "-", stdin="{attribute: a, operator: is-like, value: 1}"
    )
    assert "/when/operator" in output
    output = tidegate.refused("segment", "create", "x", "--when", "-", stdin="[1]", status=2)
    assert "does not contain an object" in output
    output = tidegate.refused("segment", "create", "x", "--when", "-", stdin="{segment: x}")
    assert "/when" in output


def test_a_segment_in_use_is_not_deleted(tidegate: Tidegate) -> None:
    tidegate.ok("segment", "create", "staff", "--include", "ann")
    tidegate.ok("segment", "create", "all", "--when", "-", stdin="{segment: staff}")
    assert "in segment staff" in tidegate.ok("segment", "show", "all")
    assert "all" in tidegate.refused("segment", "delete", "staff", "--yes")
    tidegate.ok("segment", "delete", "all", "--yes")
    tidegate.ok("segment", "delete", "staff", "-y")
    assert tidegate.json("segment", "list") == []


def test_a_condition_that_can_never_hold_is_refused_and_one_that_may_not_is_a_warning(
    tidegate: Tidegate, tmp_path: Path
) -> None:
    file = tmp_path / "when.yaml"
    file.write_text("{attribute: targeting_key, operator: equals, value: ann}\n")
    refused = tidegate.refused("segment", "create", "staff", "--when", str(file))
    assert "/when/attribute: Contexts have no attribute 'targeting_key'" in refused
    assert "Did you mean targetingKey?" in refused
    file.write_text("{attribute: user_id, operator: equals, value: ann}\n")
    created = tidegate.run("segment", "create", "staff", "--when", str(file))
    assert created.status == 0
    assert "Warning: /when/attribute: The id that a context is made with is" in created.err
    assert tidegate.json("segment", "show", "staff")["warnings"][0]["pointer"] == "/when/attribute"
    assert "Warning" in tidegate.run("segment", "edit", "staff", "--name", "Staff").err


def test_keys_are_uploaded_from_a_file_and_from_standard_input(
    tidegate: Tidegate, tmp_path: Path
) -> None:
    tidegate.ok("segment", "create", "vip", "--include", "zoe")
    file = tmp_path / "keys.csv"
    file.write_text("id,email\n1,ann\n2,bob\n")
    upload = ("segment", "upload", "vip")
    assert "2 keys joined the included list of segment vip, and 0 left; it has 2 now" in (
        tidegate.ok(*upload, str(file), "--column", "email", "--reason", "the new customers")
    )
    assert "No change" in tidegate.ok(*upload, str(file), "--column", "email")
    would = tidegate.ok(*upload, "-", "--dry-run", stdin="cleo\n")
    assert "1 key would join the included list of segment vip, and 2 would leave" in would
    assert tidegate.json(*upload, "-", "--add", stdin="cleo\n")["count"] == 3
    assert tidegate.json(*upload, "-", "--remove", stdin="ann\n")["removed"] == 1
    shown = tidegate.ok("segment", "show", "vip")
    assert "zoe, 2 uploaded" in shown
    assert "nothing" in shown
    reasons = [each["reason"] for each in tidegate.json("audit", "--action", "segment.upload")]
    assert reasons.count("the new customers") == 1


def test_a_compressed_file_is_sent_as_it_is(tidegate: Tidegate, tmp_path: Path) -> None:
    tidegate.ok("segment", "create", "vip")
    file = tmp_path / "keys.ndjson.gz"
    file.write_bytes(gzip.compress(b'"ann"\n"bob"\n'))
    assert tidegate.json("segment", "upload", "vip", str(file))["count"] == 2


def test_a_bad_file_is_refused_with_its_line(tidegate: Tidegate, tmp_path: Path) -> None:
    tidegate.ok("segment", "create", "vip")
    upload = ("segment", "upload", "vip")
    assert "line 2 has white space" in tidegate.refused(*upload, "-", stdin="ann\n bob\n")
    assert "There are no keys" in tidegate.refused(*upload, "-", stdin="")
    missing = tidegate.refused(*upload, str(tmp_path / "gone"), status=2)
    assert "Cannot read" in missing
    assert "no segment 'vap'" in tidegate.refused("segment", "upload", "vap", "-", stdin="ann\n")


def test_uploaded_keys_are_looked_up_and_their_hashes_downloaded(tidegate: Tidegate) -> None:
    tidegate.ok("segment", "create", "vip")
    tidegate.ok("segment", "upload", "vip", "-", "--list", "excluded", stdin="ann\n")
    assert tidegate.json("segment", "lookup", "vip", "ann", "bob") == [
        {"key": "ann", "included": False, "excluded": True},
        {"key": "bob", "included": False, "excluded": False},
    ]
    assert "yes" in tidegate.ok("segment", "lookup", "vip", "ann")
    begin, line = map(
        json.loads, tidegate.ok("segment", "download", "vip", "--list", "excluded").splitlines()
    )
    assert line == {"hash": sha256(f"{begin['salt']}:ann".encode()).hexdigest()[:16]}
    tidegate.refused("segment", "download", "vip")


def test_what_a_segment_shows_can_be_written_back(tidegate: Tidegate) -> None:
    tidegate.ok("segment", "create", "vip")
    tidegate.ok("segment", "upload", "vip", "-", stdin="ann\n")
    shown = tidegate.ok("segment", "show", "vip", "--output", "json")
    assert "1 key included, 0 excluded" in tidegate.ok("segment", "include", "vip", "bob")
    tidegate.ok("segment", "create", "copy", "--file", "-", stdin=shown)
    assert tidegate.json("segment", "lookup", "vip", "ann")[0]["included"]


def test_a_segment_shows_what_uses_it(tidegate: Tidegate) -> None:
    tidegate.ok("segment", "create", "vip")
    when = json.dumps({"segment": "vip"})
    tidegate.ok("segment", "create", "outer", "--when", "-", stdin=when)
    assert "segment outer" in tidegate.ok("segment", "show", "vip")


def test_each_use_of_a_segment_is_on_a_line_of_its_own(tidegate: Tidegate) -> None:
    tidegate.ok("segment", "create", "vip")
    for outer in ("first", "second"):
        when = json.dumps({"segment": "vip"})
        tidegate.ok("segment", "create", outer, "--when", "-", stdin=when)
    lines = tidegate.ok("segment", "show", "vip").splitlines()
    number = next(at for at, line in enumerate(lines) if line.startswith("used by"))
    used = [line.removeprefix("used by").strip() for line in lines[number : number + 2]]
    assert used == ["segment first", "segment second"]
