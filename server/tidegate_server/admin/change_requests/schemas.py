"""JSON schemas of change requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import fields, post_load, validate

from tidegate_server.admin.action_schemas import ActionBody
from tidegate_server.admin.audit.schemas import ChangedDocumentSchema
from tidegate_server.admin.change_requests.service import Proposal
from tidegate_server.documents.fields import (
    AnyJson,
    BoundedList,
    BoundedString,
    Duration,
    Instant,
    StrictInteger,
)
from tidegate_server.documents.strict_schema import LARGE_BODY_LIMIT, Strict
from tidegate_server.domain.change_requests import (
    DEFAULT_EXPIRY_MS,
    LEAST_EXPIRY_MS,
    MOST_EXPIRY_MS,
    ApplyWhen,
    RequestState,
)
from tidegate_server.domain.planned_operations import MAX_OPERATIONS, PlannedOperation
from tidegate_server.web.document_schemas import StoredAnswer, page_schema
from tidegate_server.web.pagination import StatePageQuery, state_field
from tidegate_server.web.reasons import MAX_REASON

MAX_PATH = 2_000


class OperationFields(Strict):
    """An operation of the API."""

    method = fields.String(required=True, validate=validate.OneOf(("POST", "PUT", "DELETE")))
    path = BoundedString(
        MAX_PATH,
        min_length=1,
        required=True,
        metadata={"description": "with its query: `/api/v1/projects/shop/flags/checkout`"},
    )
    body = AnyJson(load_default=None, metadata={"description": "its JSON body; null: none"})
    reason = BoundedString(
        MAX_REASON,
        load_default="",
        metadata={"description": "why, for the audit log; empty: the reason of the plan"},
    )


class PlannedOperationBody(OperationFields):
    """An operation of the API, to be carried out later."""

    if_match = BoundedString(
        1_000,
        load_default=None,
        allow_none=True,
        metadata={"description": "its header If-Match: the revision that you saw"},
    )


@dataclass(frozen=True, slots=True)
class Operations:
    """Operations and their ``If-Match`` headers, as a body names them."""

    operations: tuple[PlannedOperation, ...]
    if_match: tuple[str | None, ...]


def loaded_operations(data: Mapping[str, Any]) -> Operations:
    """Return the operations that a body names."""
    listed = data["operations"]
    return Operations(
        tuple(
            PlannedOperation(each["method"], each["path"], each["body"], each["reason"])
            for each in listed
        ),
        tuple(each["if_match"] for each in listed),
    )


def operations_field() -> BoundedList:
    """Return the field for the operations of a plan."""
    return BoundedList(
        fields.Nested(PlannedOperationBody),
        required=True,
        min_items=1,
        max_items=MAX_OPERATIONS,
        metadata={"description": "all of them become one atomic change"},
    )


class ChangeRequestBody(Strict):
    """A request to propose a change."""

    body_limit = LARGE_BODY_LIMIT

    reason = BoundedString(MAX_REASON, min_length=1, required=True)
    operations = operations_field()
    apply = fields.Enum(
        ApplyWhen,
        by_value=True,
        load_default=ApplyWhen.BY_HAND,
        metadata={"description": "apply it by hand, or at once with the last approval"},
    )
    expires_in = Duration(
        load_default=DEFAULT_EXPIRY_MS,
        validate=validate.Range(
            min=LEAST_EXPIRY_MS,
            max=MOST_EXPIRY_MS,
            error="A change request expires after 1h to 90d.",
        ),
        metadata={"description": "how long it may be approved and applied: 1h to 90d"},
    )

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the proposal."""
        listed = loaded_operations(data)
        return Proposal(
            data["reason"],
            listed.operations,
            listed.if_match,
            data["apply"],
            data["expires_in"],
        )


class CommentBody(Strict):
    """A comment."""

    text = BoundedString(4_000, min_length=1, required=True)

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the text."""
        return data["text"]


class DecisionBody(ActionBody):
    """Why a person approves, rejects, withdraws or applies it; the body may be left out."""


class PlannedActionSchema(Strict):
    """What one operation does, as the audit log names it."""

    action = fields.String(required=True)
    target = fields.String(required=True)
    environment = fields.String(required=True)
    details = AnyJson(required=True, metadata={"type": "object"})


class PlaceSchema(Strict):
    """A protected environment."""

    project = fields.String(required=True)
    environment = fields.String(required=True)


class RequestApprovalSchema(Strict):
    """An approval."""

    actor = fields.String(attribute="name", required=True)
    at = Instant(attribute="at_ms", required=True)
    comment = fields.String(required=True)


class CommentSchema(Strict):
    """A comment."""

    actor = fields.String(required=True)
    at = Instant(attribute="at_ms", required=True)
    text = fields.String(required=True)


class ClosingSchema(Strict):
    """Who ended it, when and why."""

    actor = fields.String(required=True)
    at = Instant(attribute="at_ms", required=True)
    reason = fields.String(required=True)


class ConflictSchema(Strict):
    """A document that changed since the change was proposed."""

    kind = fields.String(required=True)
    key = fields.String(required=True)
    environment = fields.String(required=True)
    made_against = StrictInteger(
        required=True, metadata={"description": "the revision that the change was made against"}
    )
    revision = StrictInteger(
        required=True, metadata={"description": "the present one; 0: it was deleted"}
    )
    killed = fields.Boolean(
        required=True,
        metadata={"description": "the flag is killed, and otherwise as it was: restore it first"},
    )


class PresentSchema(Strict):
    """What the change would be now."""

    conflicts = fields.List(fields.Nested(ConflictSchema), required=True)
    changes = fields.List(fields.Nested(ChangedDocumentSchema), required=True)
    problem = fields.String(
        required=True, metadata={"description": "why it cannot be applied now; empty: it can"}
    )


class ChangeRequestSummary(StoredAnswer):
    """A change request, as lists have it."""

    id = fields.String(required=True)
    state = fields.Enum(RequestState, by_value=True, required=True)
    reason = fields.String(required=True)
    owner = fields.String(attribute="owner.name", required=True)
    created_at = Instant(attribute="created_ms", required=True)
    expires_at = Instant(attribute="expires_ms", required=True)
    apply = fields.Enum(ApplyWhen, by_value=True, required=True)
    edition = StrictInteger(
        required=True, metadata={"description": "rises when its operations change"}
    )
    required_approvals = StrictInteger(attribute="plan.required_approvals", required=True)
    approvals = fields.List(fields.Nested(RequestApprovalSchema), required=True)
    places = fields.List(
        fields.Nested(PlaceSchema),
        attribute="plan.places",
        required=True,
        metadata={"description": "the protected environments that it concerns"},
    )
    actions = fields.List(
        fields.Nested(PlannedActionSchema), attribute="plan.actions", required=True
    )
    closed = fields.Nested(
        ClosingSchema,
        required=True,
        allow_none=True,
        metadata={
            "description": "who rejected, withdrew or applied it; null: it is open, or has expired"
        },
    )
    may = fields.List(
        fields.String(validate=validate.OneOf(("approve", "reject", "apply", "withdraw"))),
        required=True,
        metadata={"description": "what you may do with it now"},
    )


class ChangeRequestAnswer(ChangeRequestSummary):
    """A change request."""

    operations = fields.List(
        fields.Nested(OperationFields),
        required=True,
        metadata={"description": "without their bodies for who can neither write nor approve here"},
    )
    changes = fields.List(
        fields.Nested(ChangedDocumentSchema),
        attribute="plan.changes",
        required=True,
        metadata={"description": "what it changes, as of when it was proposed"},
    )
    comments = fields.List(fields.Nested(CommentSchema), required=True)
    present = fields.Nested(
        PresentSchema,
        required=True,
        allow_none=True,
        metadata={"description": "what it would change now; null: it is closed"},
    )
    problem = fields.String(
        required=True,
        metadata={"description": "why it was not applied with its last approval; else empty"},
    )
    answers = fields.List(
        AnyJson(),
        required=True,
        allow_none=True,
        metadata={
            "description": "the answers of its operations, when its owner applies it; else null"
        },
    )


ChangeRequestPage = page_schema("ChangeRequestPage", ChangeRequestSummary)


class ChangeRequestListQuery(StatePageQuery):
    """The query of the list of change requests."""

    state = state_field(RequestState)
