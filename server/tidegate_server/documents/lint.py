"""Finds what is wrong with a policy in a file, with line numbers, without a server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from marshmallow import ValidationError

from tidegate_server.documents.json_pointers import problems
from tidegate_server.documents.line_numbers import line_of, lines_of
from tidegate_server.documents.policy_schemas import PolicyBody
from tidegate_server.domain.error_rate import with_error_rate_check
from tidegate_server.domain.last_stage import WatchedCheck, watched_checks
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.policy_risks import policy_hints, policy_risks
from tidegate_server.domain.policy_validation import check_policy, with_stage_names
from tidegate_server.domain.references import policy_webhooks
from tidegate_server.errors import FieldProblem, Invalid
from tidegate_server.strict_text import parse_text

RESPONSE_FIELDS = ("revision", "updated_at", "warnings", "after_last_advance")
"""Fields that the server adds to a policy; a file with its response may have them."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem in a file.

    Attributes:
        line: the line, from 1; None if unknown.
        pointer: JSON pointer of the field; empty: the whole document.
        detail: what is wrong and how to fix it.
        warning: whether the policy is valid nevertheless: only a server can tell if this is
            wrong, or it is a risk that the policy takes.
    """

    line: int | None
    pointer: str
    detail: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class LintResult:
    """The result of linting a policy.

    Attributes:
        policy: None if it is not valid.
        findings: what is wrong with it, or what risks it takes.
        hints: what its writer may not expect, though it need not be wrong.
        watched: what watches each check after the last advance.
    """

    policy: Policy | None
    findings: tuple[Finding, ...]
    hints: tuple[Finding, ...] = ()
    watched: tuple[WatchedCheck, ...] = ()

    @property
    def valid(self) -> bool:
        """Whether there are no findings but warnings."""
        return all(finding.warning for finding in self.findings)


def lint(text: str, what: str, now_ms: int | None = None) -> LintResult:
    """Lint a policy.

    Args:
        text: YAML or JSON.
        what: the file's name, for messages.
        now_ms: the time, to warn of freezes that are over; None: do not look for them.

    Raises:
        Unreadable: the text is neither, or is ambiguous.
    """
    value = parse_text(text, what)
    if isinstance(value, dict):
        value = {name: each for name, each in value.items() if name not in RESPONSE_FIELDS}
    lines = lines_of(text)

    def finding(problem: FieldProblem, *, warning: bool = False) -> Finding:
        place = line_of(lines, problem.pointer)
        return Finding(place, problem.pointer, problem.detail, warning)

    try:
        policy = load_policy(value)
    except Invalid as refused:
        return LintResult(None, tuple(finding(each) for each in refused.fields))
    warnings = (*policy_risks(policy, now_ms), *_references(policy))
    return LintResult(
        policy,
        tuple(finding(each, warning=True) for each in warnings),
        tuple(finding(each, warning=True) for each in policy_hints(policy)),
        watched_checks(policy),
    )


def load_policy(value: Any) -> Policy:
    """Return a parsed policy; the segments and webhooks that it names need not exist.

    Raises:
        Invalid: the policy is not valid; has every problem with its pointer.
    """
    try:
        policy: Policy = PolicyBody().load(value)
    except ValidationError as error:
        wrong = list(problems(error.messages))
        count = "1 invalid field" if len(wrong) == 1 else f"{len(wrong)} invalid fields"
        raise Invalid(f"The policy has {count}.", *wrong) from None
    return check_standalone(policy)


def check_standalone(policy: Policy) -> Policy:
    """Validate a policy as if the segments and webhooks that it names exist.

    Returns:
        The policy with stage names and its check of the error rate.

    Raises:
        Invalid: the policy is not valid; has every problem with its pointer.
    """
    policy = with_error_rate_check(with_stage_names(policy))
    check_policy(policy, policy.segments, policy_webhooks(policy))
    return policy


def _references(policy: Policy) -> Iterator[FieldProblem]:
    """Yield what the policy names; only a server knows whether it exists."""
    for number, stage in enumerate(policy.stages):
        for position, key in enumerate(stage.segments):
            yield FieldProblem(
                f"/stages/{number}/segments/{position}",
                f"The project needs a segment {key!r} before you create this policy.",
            )
    notify = [each.webhook for each in policy.notify]
    confirm = [each.webhook for each in policy.confirm]
    for field, webhooks in (("notify", notify), ("confirm", confirm)):
        for position, key in enumerate(webhooks):
            yield FieldProblem(
                f"/{field}/{position}/webhook",
                f"The project needs a webhook {key!r} before you create this policy.",
            )
