"""`history`, `show --version`, `diff` and `restore`, for every kind of document."""

from __future__ import annotations

import pytest

from tests.cli.calls import Tidegate


@pytest.fixture
def changed(checkout: Tidegate) -> Tidegate:
    """A project whose flag served something else before."""
    checkout.ok("flag", "set", "checkout", "--default", "on", "--reason", "launch")
    checkout.ok("flag", "edit", "checkout", "--name", "Checkout", "--reason", "a name")
    return checkout


def test_the_history_of_a_flag_is_what_it_served(changed: Tidegate) -> None:
    lines = changed.ok("flag", "history", "checkout").splitlines()
    assert lines[0].split() == ["revision", "when", "who", "action", "reason"]
    assert [line.split()[0] for line in lines[1:]] == ["1", "2"]
    assert lines[-1].endswith("launch")
    assert "Showing the latest 1" in changed.run("flag", "history", "checkout", "--limit", "1").err


def test_a_flag_has_another_history_of_its_definition(changed: Tidegate) -> None:
    (first, second) = changed.json("flag", "history", "checkout", "--definition")
    assert (first["action"], second["action"], second["reason"]) == (
        "flag.create",
        "flag.edit",
        "a name",
    )
    shown = changed.ok("flag", "show", "checkout", "--definition", "--version", "2")
    assert "Checkout" in shown
    assert "a name" in shown
    assert "Checkout" not in changed.ok(
        "flag", "show", "checkout", "--definition", "--version", "1"
    )
    assert changed.json("flag", "show", "checkout", "--definition")["revision"] == 2


def test_a_diff_has_one_line_for_each_field(changed: Tidegate) -> None:
    result = changed.run("flag", "diff", "checkout", "1")
    assert result.out == 'default variant: "off" → "on"\n'
    assert result.err == "Flag checkout, revision 1 → 2:\n"
    assert changed.run("flag", "diff", "checkout", "2").err == "Nothing differs.\n"
    definition = ("flag", "diff", "checkout", "1", "2", "--definition")
    assert changed.ok(*definition) == 'name: "" → "Checkout"\n'
    assert changed.json("flag", "diff", "checkout", "1", "2")["changes"][0]["before"] == "off"


def test_a_restore_is_a_new_revision(changed: Tidegate) -> None:
    text = changed.ok("flag", "restore", "checkout", "1", "--reason", "sales dropped")
    assert text == "Flag checkout is as it was at revision 1 again; this is revision 3.\n"
    assert changed.json("flag", "show", "checkout")["targeting"]["default"] == {"variant": "off"}
    last = changed.json("audit")[-1]
    assert (last["reason"], last["details"]["restored_revision"]) == ("sales dropped", 1)
    again = changed.ok("flag", "restore", "checkout", "1")
    assert again == "Flag checkout is as it was at revision 1.\n"
    assert "not kept" in changed.refused("flag", "restore", "checkout", "9")


def test_a_deleted_segment_comes_back(checkout: Tidegate) -> None:
    checkout.ok("segment", "create", "staff", "--include", "ann")
    checkout.ok("segment", "include", "staff", "bob")
    assert checkout.ok("segment", "diff", "staff", "1") == 'included: ["ann"] → ["ann", "bob"]\n'
    checkout.ok("segment", "delete", "staff", "--yes")
    checkout.ok("segment", "restore", "staff", "1")
    assert checkout.json("segment", "show", "staff")["included"] == ["ann"]
    assert [each["action"] for each in checkout.json("segment", "history", "staff")] == [
        *("segment.create", "segment.edit", "segment.delete", "segment.create"),
    ]


def test_every_kind_of_document_has_a_history(checkout: Tidegate) -> None:
    checkout.ok("webhook", "create", "chat", "https://example.com/chat")
    hook = ("alerts", "--flag", "checkout", "--kind", "generic", "--action", "hold")
    id = checkout.json("hook", "create", *hook)["id"]
    edits = {
        ("webhook", "chat"): ("edit", "chat", "--name", "new"),
        ("hook", id): ("edit", id, "--name", "new"),
        ("policy", "careful"): (),
        ("environment", "production"): ("edit", "production", "--name", "new"),
    }
    for (group, key), command in edits.items():
        if command:
            checkout.ok(group, *command)
            assert '→ "new"' in checkout.ok(group, "diff", key, "1")
        version = checkout.json(group, "show", key, "--version", "1")
        assert version["revision"] == 1
        assert version["document"]
        assert "revision" in checkout.ok(group, "show", key, "--version", "1")
        checkout.ok(group, "restore", key, "1")
    assert checkout.json("environment", "show", "production")["name"] == ""
