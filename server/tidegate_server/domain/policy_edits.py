"""Commits of edits to policies. Releases under way keep the policy they started under."""

from __future__ import annotations

from tidegate_server.domain.change import Audit, Change, Delete, Put
from tidegate_server.domain.field_differences import changed_fields, same
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.policy_validation import check_policy, with_stage_names
from tidegate_server.domain.project_documents import (
    ProjectDocuments,
    guard,
    policy_address,
    segment_address,
    webhook_address,
)
from tidegate_server.domain.references import webhooks_of
from tidegate_server.domain.webhooks import Format


def put_policy(
    documents: ProjectDocuments, policy: Policy, *, actor: str, reason: str = ""
) -> Change:
    """Create a policy, or replace the one with its key.

    Releases that are under way keep the policy as it was when they started.

    Raises:
        Invalid: the policy cannot be carried out.
    """
    policy = with_stage_names(policy)
    mute = {key for key, each in documents.webhooks.items() if each.document.format is Format.SLACK}
    check_policy(policy, documents.segments.keys(), documents.webhooks.keys(), mute)
    before = documents.policies.get(policy.key)
    where = policy_address(policy.key)
    if before is not None and same(before.document, policy):
        return Change(scope=documents.project, writes=(guard(where, before),))
    named = sorted({key for stage in policy.stages for key in stage.segments})
    details: dict[str, object] = {"stages": len(policy.stages)}
    if before is not None:
        details["changed"] = changed_fields(before.document, policy)
    return Change(
        scope=documents.project,
        writes=(
            Put(where, policy, before.revision if before is not None else 0),
            *(guard(segment_address(key), documents.segments[key]) for key in named),
            *(
                guard(webhook_address(key), documents.webhooks[key])
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


def delete_policy(documents: ProjectDocuments, key: str, *, actor: str, reason: str = "") -> Change:
    """Remove a policy. Releases under way keep theirs."""
    before = documents.policy(key)
    return Change(
        scope=documents.project,
        writes=(Delete(policy_address(key), before.revision),),
        audit=Audit(actor, "policy.delete", key, "", reason),
    )
