"""Changes to policies. An active release keeps the policy that it started under."""

from __future__ import annotations

from tidegate_server.domain.change import Change
from tidegate_server.domain.document_changes import delete_document_change, put_document_change
from tidegate_server.domain.error_rate import with_error_rate_check
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.policy_validation import check_policy, with_stage_names
from tidegate_server.domain.project_documents import (
    ProjectDocuments,
    guards,
    policy_address,
    segment_address,
    webhook_address,
)
from tidegate_server.domain.references import policy_webhooks


def put_policy(
    documents: ProjectDocuments, policy: Policy, *, actor: str, reason: str = ""
) -> Change:
    """Create a policy, or replace the one with its key.

    Raises:
        Invalid: the policy is not valid.
    """
    policy = with_error_rate_check(with_stage_names(policy))
    cannot_confirm = {
        key for key, each in documents.webhooks.items() if not each.document.format.can_confirm
    }
    check_policy(policy, documents.segments.keys(), documents.webhooks.keys(), cannot_confirm)
    return put_document_change(
        documents.project,
        policy_address(policy.key),
        documents.policies.get(policy.key),
        policy,
        actor=actor,
        reason=reason,
        details={"stages": len(policy.stages)},
        writes=[
            *guards(segment_address, documents.segments, policy.segments),
            *guards(webhook_address, documents.webhooks, policy_webhooks(policy)),
        ],
    )


def delete_policy(documents: ProjectDocuments, key: str, *, actor: str, reason: str = "") -> Change:
    """Delete a policy."""
    return delete_document_change(
        documents.project,
        policy_address(key),
        documents.policy(key),
        actor=actor,
        reason=reason,
    )
