"""What is wrong with a policy in a file, found without a server, with its line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from marshmallow import ValidationError

from tidegate_server.documents.json_pointers import problems
from tidegate_server.documents.line_numbers import line_of, lines_of
from tidegate_server.documents.policy_schemas import PolicyBody
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.policy_validation import check_policy, with_stage_names
from tidegate_server.domain.references import policy_webhooks
from tidegate_server.errors import FieldProblem, Invalid
from tidegate_server.strict_text import parse_text

KNOWN_ABOUT = ("revision", "updated_at")
"""What the server says about a document beside it; a file that was shown may have it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in a file.

    Attributes:
        line: where it is, from 1; None: that cannot be said.
        pointer: JSON pointer of the field; empty: the document as a whole.
        detail: what is wrong, and the mend.
        warning: whether it may be right, which only a server knows.
    """

    line: int | None
    pointer: str
    detail: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Linted:
    """What came of looking at a policy; ``policy`` is None when it cannot be one."""

    policy: Policy | None
    findings: tuple[Finding, ...]

    @property
    def sound(self) -> bool:
        """Whether there are warnings at most."""
        return all(finding.warning for finding in self.findings)


def lint(text: str, what: str) -> Linted:
    """Look at a policy.

    Args:
        text: YAML or JSON.
        what: the file's name.

    Raises:
        Unreadable: it is neither, or has no single meaning.
    """
    value = parse_text(text, what)
    if isinstance(value, dict):
        value = {name: each for name, each in value.items() if name not in KNOWN_ABOUT}
    lines = lines_of(text)

    def finding(problem: FieldProblem, *, warning: bool = False) -> Finding:
        place = line_of(lines, problem.pointer)
        return Finding(place, problem.pointer, problem.detail, warning)

    try:
        policy = policy_of(value)
    except Invalid as refused:
        return Linted(None, tuple(finding(each) for each in refused.fields))
    return Linted(policy, tuple(finding(each, warning=True) for each in _unknown(policy)))


def policy_of(value: Any) -> Policy:
    """The policy that a value stands for, whatever segments and webhooks it names.

    Raises:
        Invalid: it could not be carried out; every problem with its pointer.
    """
    try:
        policy: Policy = PolicyBody().load(value)
    except ValidationError as error:
        found = list(problems(error.messages))
        raise Invalid(f"{len(found)} fields of the policy are wrong.", *found) from None
    return check_named(policy)


def check_named(policy: Policy) -> Policy:
    """The policy, its stages named, whatever segments and webhooks it speaks of.

    Raises:
        Invalid: it could not be carried out; every problem with its pointer.
    """
    policy = with_stage_names(policy)
    check_policy(policy, policy.segments, policy_webhooks(policy))
    return policy


def _unknown(policy: Policy) -> Iterator[FieldProblem]:
    """What only a server can tell: whether that which is named is there."""
    for number, stage in enumerate(policy.stages):
        for position, key in enumerate(stage.segments):
            yield FieldProblem(
                f"/stages/{number}/segments/{position}",
                f"The project must have a segment {key!r} when the policy is put.",
            )
    told = [each.webhook for each in policy.notify]
    asked = [each.webhook for each in policy.confirm]
    for field, webhooks in (("notify", told), ("confirm", asked)):
        for position, key in enumerate(webhooks):
            yield FieldProblem(
                f"/{field}/{position}/webhook",
                f"The project must have a webhook {key!r} when the policy is put.",
            )
