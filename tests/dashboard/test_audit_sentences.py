"""Every entry of the audit log is a sentence: who did what, in the past tense."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import tidegate_server
from tidegate_server.dashboard import icons
from tidegate_server.dashboard.audit_sentences import SENTENCES, audit_line, past

SERVER = Path(tidegate_server.__file__).parent
NOUNS = (
    *("flag", "targeting", "release", "segment", "policy", "webhook", "hook", "environment"),
    *("project", "token", "person", "group", "role", "session", "context"),
    *("change_request", "scheduled_change", "configuration"),
)


def written_actions() -> set[str]:
    """Return the actions that the server's code names in full."""
    action = re.compile(rf"({'|'.join(NOUNS)})\.[a-z_]+")
    found = set()
    for folder in ("domain", "admin", "policy_job", "web"):
        for file in (SERVER / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.keyword) and node.arg == "action":
                    constants = [node.value]
                elif isinstance(node, ast.Call):
                    constants = list(node.args)
                else:
                    continue
                found |= {
                    each.value
                    for each in constants
                    if isinstance(each, ast.Constant)
                    and isinstance(each.value, str)
                    and action.fullmatch(each.value)
                }
    return found


def entry(action: str, **changes: Any) -> dict[str, Any]:
    return {
        "action": action,
        "target": "x1",
        "actor": "ann (1f3)",
        "environment": "",
        "reason": "",
        "at": "2026-11-26T14:16:00Z",
        "details": {"flag": "checkout"},
        "documents": [],
    } | changes


GENERIC = [f"{noun}.{verb}" for noun in NOUNS for verb in ("create", "edit", "delete", "restore")]


@pytest.mark.parametrize("action", sorted({*written_actions(), *GENERIC, *SENTENCES}))
def test_an_action_is_a_sentence_in_the_past_tense(action: str) -> None:
    line = audit_line(entry(action))
    first = line.did.split()[0]
    assert first.endswith("d") or first in {"made", "gave", "began", "took", "withdrew", "holds"}, (
        line.did
    )
    assert "{" not in line.did
    assert line.icon in icons.PATHS


@pytest.mark.parametrize(
    ("verb", "text"),
    [("delete", "deleted"), ("reject", "rejected"), ("edit", "changed"), ("copy", "copied")],
)
def test_verbs(verb: str, text: str) -> None:
    assert past(verb) == text


def test_a_token_is_called_by_its_name() -> None:
    assert audit_line(entry("token.create", details={"name": "ci"})).did == "made the token “ci”"


def test_an_environment_is_not_said_to_be_in_itself() -> None:
    line = audit_line(entry("environment.create", target="staging", environment="staging"))
    assert (line.did, line.where) == ("made the environment staging", "")


def test_people_are_quoted_and_the_policy_says_why_in_words() -> None:
    assert audit_line(entry("flag.kill", reason="too slow")).ending == ": “too slow”"
    reason = "evidence of harm 6,707 reached 400: treatment: 19 users failed in 567 operations"
    assert audit_line(entry("release.rollback", actor="policy", reason=reason)).ending == (
        ". It is worse than the policy allows (evidence against it 6,707, limit 400): 19 users "
        "failed in 567 operations with the treatment."
    )
    assert audit_line(entry("flag.create")).ending == "."
