"""Commits of edits to policies. Releases under way keep the policy they started under."""

from __future__ import annotations

from tidegate_server.domain.change import Audit, Change, Delete, Put
from tidegate_server.domain.contents import (
    Contents,
    guard,
    policy_address,
    segment_address,
    webhook_address,
)
from tidegate_server.domain.differences import changed_fields, same
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.policy_rules import check_policy, with_stage_names
from tidegate_server.domain.references import webhooks_of
from tidegate_server.domain.webhooks import Format


def put_policy(contents: Contents, policy: Policy, *, actor: str, reason: str = "") -> Change:
    """Create a policy, or replace the one with its key.

    Releases that are under way keep the policy as it was when they started.

    Raises:
        Invalid: the policy cannot be carried out.
    """
    policy = with_stage_names(policy)
    mute = {key for key, each in contents.webhooks.items() if each.document.format is Format.SLACK}
    check_policy(policy, contents.segments.keys(), contents.webhooks.keys(), mute)
    before = contents.policies.get(policy.key)
    where = policy_address(policy.key)
    if before is not None and same(before.document, policy):
        return Change(scope=contents.project, writes=(guard(where, before),))
    named = sorted({key for stage in policy.stages for key in stage.segments})
    details: dict[str, object] = {"stages": len(policy.stages)}
    if before is not None:
        details["changed"] = changed_fields(before.document, policy)
    return Change(
        scope=contents.project,
        writes=(
            Put(where, policy, before.revision if before is not None else 0),
            *(guard(segment_address(key), contents.segments[key]) for key in named),
            *(
                guard(webhook_address(key), contents.webhooks[key])
                for key in sorted(webhooks_of(policy))
            ),
        ),
        audit=Audit(
            actor,
            "policy.create" if before is None else "policy.edit",
            policy.key,
            "",
            reason,
            details,
        ),
    )


def delete_policy(contents: Contents, key: str, *, actor: str, reason: str = "") -> Change:
    """Remove a policy. Releases under way keep theirs."""
    before = contents.policy(key)
    return Change(
        scope=contents.project,
        writes=(Delete(policy_address(key), before.revision),),
        audit=Audit(actor, "policy.delete", key, "", reason),
    )
