"""JSON schemas of promotions and copies of flags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from marshmallow import fields, post_load

from tidegate_server.admin.document_history import FieldDifferenceSchema
from tidegate_server.admin.evaluation_counts.schemas import EvaluatedSchema
from tidegate_server.admin.previews.schemas import PreviewAnswer
from tidegate_server.documents.fields import (
    BoundedList,
    BoundedString,
    Key,
    StrictBoolean,
    StrictInteger,
    query_boolean,
)
from tidegate_server.documents.strict_schema import DataclassSchema, Strict
from tidegate_server.documents.warnings import WarningSchema
from tidegate_server.domain.promotions import CopyRequest

MAX_FLAGS = 100


class RevisionsSchema(Strict):
    """The revisions of a flag's targetings that a plan was made from."""

    source = StrictInteger(data_key="from", required=True)
    target = StrictInteger(data_key="to", required=True)


@dataclass(frozen=True, slots=True)
class PromotionRequest:
    """A request to promote flags; ``revisions`` are those of the plan that the caller has seen."""

    source: str
    flags: tuple[str, ...]
    revisions: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


class PromotionBody(Strict):
    """A request to let flags serve here what they serve in another environment."""

    source = Key(
        data_key="from", required=True, metadata={"description": "the environment to promote from"}
    )
    flags = BoundedList(Key(), required=True, min_items=1, max_items=MAX_FLAGS)
    revisions = fields.Dict(
        keys=Key(),
        values=fields.Nested(RevisionsSchema),
        load_default=dict,
        metadata={
            "description": "of each flag, the `revisions` of the plan; the promotion is refused if "
            "anything has changed since"
        },
    )

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the request."""
        return PromotionRequest(data["source"], tuple(data["flags"]), data["revisions"])


class PlanQuery(Strict):
    """The query of what can be planned first."""

    plan = query_boolean("true: say what would change, and change nothing")

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return whether to change nothing."""
        return data["plan"]


class PromotedFlagSchema(Strict):
    """What a promotion does to one flag."""

    flag = fields.String(required=True)
    changes = fields.List(
        fields.Nested(FieldDifferenceSchema),
        required=True,
        metadata={"description": "what differs between its targetings; empty: nothing"},
    )
    problems = fields.List(
        fields.Nested(WarningSchema),
        required=True,
        metadata={"description": "why it cannot be promoted; then no flag is"},
    )
    revisions = fields.Nested(RevisionsSchema, required=True)
    killed = StrictBoolean(
        required=True, metadata={"description": "it is killed here, and stays killed"}
    )
    release = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "the id of its active release here, which goes on"},
    )
    evaluated = fields.Nested(EvaluatedSchema, required=True)


class PromotionAnswer(Strict):
    """What a promotion changes, and who is affected."""

    source = fields.String(data_key="from", required=True)
    target = fields.String(data_key="to", required=True)
    flags = fields.List(fields.Nested(PromotedFlagSchema), required=True)
    live_instances = StrictInteger(
        required=True, metadata={"description": "processes that use the environment now"}
    )
    preview = fields.Nested(
        PreviewAnswer,
        required=True,
        allow_none=True,
        metadata={
            "description": "who of the recently seen users would get another variant; null: "
            "nothing would change, or has changed"
        },
    )
    applied = StrictBoolean(
        required=True, metadata={"description": "false: it is a plan, or nothing differs"}
    )


class CopyBody(DataclassSchema):
    """A request to create a flag like another one."""

    loads_into = CopyRequest

    key = Key(required=True)
    name = BoundedString(200, load_default=None, allow_none=True)
    same_buckets = StrictBoolean(
        load_default=False,
        metadata={
            "description": "whether users get the same sides of splits as with the other flag"
        },
    )
