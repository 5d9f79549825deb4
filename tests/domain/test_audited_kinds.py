"""The kinds that people can choose in the audit log are all that its entries can be about."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import tidegate_server
from tidegate_server.admin.presented_documents import SCHEMAS
from tidegate_server.cli.audit import list_audit
from tidegate_server.domain.audited_kinds import AUDITED_KINDS, HIDDEN
from tidegate_server.domain.kinds import Kind

SOURCE = Path(tidegate_server.__file__).parent
WRITERS = ("domain", "admin", "store", "web", "policy_job", "sdk_api", "processes", "webhooks")
"""The packages that change something."""

ACTION = re.compile(r"([a-z_]+)\.[a-z_]*")
ENTRIES = {"Audit", "note_in_audit", "_audit"}
"""What an entry is made with."""


def _nouns() -> Iterator[str]:
    """Yield the nouns of the actions that the server writes into the audit log.

    They are the texts that look like one in a function that makes an entry or takes its action.
    """
    for path in (each for name in WRITERS for each in (SOURCE / name).rglob("*.py")):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef) and _names_an_action(function):
                for node in ast.walk(function):
                    if isinstance(node, ast.Constant) and isinstance(node.value, str):
                        found = ACTION.fullmatch(node.value)
                        yield from [found[1]] if found else []


def _names_an_action(function: ast.FunctionDef) -> bool:
    return any(
        isinstance(node, ast.Call)
        and (
            getattr(node.func, "id", "") in ENTRIES
            or any(each.arg == "action" for each in node.keywords)
        )
        for node in ast.walk(function)
    )


def test_every_kind_that_an_action_names_can_be_chosen() -> None:
    nouns = set(_nouns())
    assert {"flag", "tag", "session", "deletion", "identity_provider", "share", "store"} <= nouns
    assert nouns <= set(AUDITED_KINDS)


def test_every_kind_of_document_that_an_entry_shows_can_be_chosen() -> None:
    assert {each.value for each in SCHEMAS} <= set(AUDITED_KINDS)
    assert {each.value for each in Kind} - set(AUDITED_KINDS) == set(HIDDEN)


def test_the_command_line_offers_every_kind() -> None:
    [option] = [each for each in list_audit.params if each.name == "object_"]
    assert isinstance(option.type, click.Choice)
    assert tuple(option.type.choices) == AUDITED_KINDS
