"""Documents in the form of the API, without what the server adds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from marshmallow import Schema, fields

from tidegate_server.admin.flags.schemas import FlagState
from tidegate_server.admin.groups.schemas import GroupFields
from tidegate_server.admin.hooks.schemas import HookFields
from tidegate_server.admin.identity_providers.schemas import IdentityProviderFields
from tidegate_server.admin.people.schemas import PersonFields
from tidegate_server.admin.projects.schemas import EnvironmentFields, ProjectFields
from tidegate_server.admin.roles.schemas import RoleFields
from tidegate_server.admin.saved_contexts.schemas import SavedContextFields
from tidegate_server.admin.segments.schemas import SegmentState
from tidegate_server.admin.targeting.schemas import KillSchema, TargetingFields
from tidegate_server.admin.tokens.schemas import TokenFields
from tidegate_server.admin.webhooks.schemas import WebhookFields
from tidegate_server.documents.policy_schemas import PolicyFields
from tidegate_server.domain.change import Audit, Change, ChangedDocument, Delete, Guard, Put
from tidegate_server.domain.changed_documents import changed_document
from tidegate_server.domain.json_differences import ABSENT, Absent
from tidegate_server.domain.kinds import Kind
from tidegate_server.web.caller_address import current_address


class TargetingState(TargetingFields):
    """A targeting with its kill and its release."""

    killed = fields.Nested(KillSchema, attribute="kill", dump_only=True)
    release = fields.String(dump_only=True)


SCHEMAS: Mapping[Kind, type[Schema]] = {
    Kind.PROJECT: ProjectFields,
    Kind.ENVIRONMENT: EnvironmentFields,
    Kind.FLAG: FlagState,
    Kind.SEGMENT: SegmentState,
    Kind.POLICY: PolicyFields,
    Kind.WEBHOOK: WebhookFields,
    Kind.HOOK: HookFields,
    Kind.CONTEXT: SavedContextFields,
    Kind.TARGETING: TargetingState,
    Kind.TOKEN: TokenFields,
    Kind.PERSON: PersonFields,
    Kind.GROUP: GroupFields,
    Kind.ROLE: RoleFields,
    Kind.IDENTITY_PROVIDER: IdentityProviderFields,
}
"""The schema of each kind of document that people change. It has no secrets, except that the path
of a webhook's URL may be one."""


def presented(kind: Kind, document: Any) -> dict[str, Any]:
    """Return a document in the form of the API, with the fields that people set.

    A targeting also has its kill and its release.
    """
    result: dict[str, Any] = _schema(kind).dump(document)
    return result


@cache
def _schema(kind: Kind) -> Schema:
    return SCHEMAS[kind]()


def with_changed_documents(change: Change) -> Change:
    """Return a change whose audit entry says how each document changes, and from which address.

    An entry that says so already stays as it is.
    """
    if change.audit is None or change.audit.documents:
        return change
    changed = [changed_fields(each) for each in change.writes if not isinstance(each, Guard)]
    documents = tuple(each for each in changed if each is not None and each.changes)
    address = change.audit.address or current_address()
    audit: Audit = replace(change.audit, documents=documents, address=address)
    more = tuple(replace(each, address=each.address or address) for each in change.more_audit)
    return replace(change, audit=audit, more_audit=more)


def changed_fields(write: Put | Delete) -> ChangedDocument | None:
    """Return how a write changes its document, without secrets.

    None: it is of a kind that people do not see.
    """
    kind = write.address.kind
    if kind not in SCHEMAS:
        return None
    if write.expected and write.before is None:
        raise AssertionError(f"the change of {write.address} does not say what was before")
    before = ABSENT if write.before is None else presented(kind, write.before)
    after = presented(kind, write.document) if isinstance(write, Put) else ABSENT
    if kind is Kind.WEBHOOK:
        before, after = _without_paths(write, before, after)
    return changed_document(write.address, before, after, write.expected)


def _without_paths(
    write: Put | Delete, before: dict[str, Any] | Absent, after: dict[str, Any] | Absent
) -> tuple[dict[str, Any] | Absent, dict[str, Any] | Absent]:
    """Hide the paths of a webhook's URLs, which may be credentials."""
    old = new = None
    if not isinstance(before, Absent):
        old = before["url"]
        before = {**before, "url": f"{write.before.origin}/…"}
    if not isinstance(after, Absent) and isinstance(write, Put):
        new = after["url"]
        after = {**after, "url": f"{write.document.origin}/…"}
        if not isinstance(before, Absent) and old != new and before["url"] == after["url"]:
            after["url"] += " (another path)"
    return before, after
