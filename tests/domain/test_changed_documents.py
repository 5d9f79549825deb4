"""What the audit log keeps of a changed document, and how much at most."""

from __future__ import annotations

from typing import Any

from tidegate_server.domain.change import Address, ChangedDocument
from tidegate_server.domain.changed_documents import (
    BEGINNING,
    MAX_CHANGES,
    MAX_VALUE,
    changed_document,
)
from tidegate_server.domain.json_differences import ABSENT
from tidegate_server.domain.kinds import Kind

FLAG = Address(Kind.FLAG, "checkout")


def changed(before: Any, after: Any, revision: int = 3) -> ChangedDocument:
    return changed_document(FLAG, before, after, revision)


def test_an_edit_keeps_both_values_of_what_changed() -> None:
    found = changed({"name": "", "tags": []}, {"name": "new", "tags": []})
    assert found == ChangedDocument(
        Kind.FLAG,
        "checkout",
        "",
        3,
        ({"pointer": "/name", "field": "name", "before": "", "after": "new"},),
    )


def test_a_new_document_has_the_fields_that_are_not_empty() -> None:
    found = changed(ABSENT, {"name": "", "type": "boolean", "zero": 0, "off": False}, 0)
    assert found.changes == (
        {"pointer": "/type", "field": "type", "after": "boolean"},
        {"pointer": "/zero", "field": "zero", "after": 0},
    )


def test_a_deleted_document_keeps_what_it_was() -> None:
    assert changed({"type": "boolean"}, ABSENT).changes == (
        {"pointer": "/type", "field": "type", "before": "boolean"},
    )


def test_a_long_value_is_shortened_and_said_to_be() -> None:
    (found,) = changed({"value": "x" * (MAX_VALUE - 1)}, {"value": "y"}).changes
    assert found["shortened"] == ["before"]
    assert found["before"] == '"' + "x" * (BEGINNING - 1) + "…"
    assert found["after"] == "y"
    (whole,) = changed({"value": "x" * (MAX_VALUE - 2)}, {"value": "y"}).changes
    assert "shortened" not in whole


def test_changes_beyond_the_limit_are_counted() -> None:
    after = {f"f{number}": 1 for number in range(MAX_CHANGES + 7)}
    found = changed({}, after)
    assert (len(found.changes), found.changes_left_out) == (MAX_CHANGES, 7)
