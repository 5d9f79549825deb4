"""JSON schemas of previews and of recently seen users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import fields, post_load, validate

from tidegate_server.admin.targeting.schemas import ServeSchema
from tidegate_server.documents.fields import (
    AnyJson,
    Instant,
    Number,
    Percent,
    StrictBoolean,
    StrictInteger,
)
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.domain.release import State
from tidegate_server.web.document_schemas import page_schema

ACTIONS = ("begin", "advance", "retry", "rollback", "complete")


class MoveSchema(Strict):
    """So many users would move from one variant of a flag to another."""

    flag = fields.String(required=True)
    was = fields.String(
        required=True,
        allow_none=True,
        data_key="from",
        metadata={"description": "null: no variant, but the application's default"},
    )
    becomes = fields.String(
        required=True,
        allow_none=True,
        data_key="to",
        metadata={"description": "null: no variant, but the application's default"},
    )
    count = StrictInteger(required=True)


class VariantUsersSchema(Strict):
    """So many users get a variant of a flag."""

    flag = fields.String(required=True)
    variant = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "null: no variant, but the application's default"},
    )
    before = StrictInteger(required=True)
    after = StrictInteger(required=True)


class ShareSchema(Strict):
    """A share, 0 to 1: in the sample, and its bounds for all users at 95 % confidence."""

    seen = Number(attribute="value", required=True)
    low = Number(required=True)
    high = Number(required=True)


class SampledUsers(Strict):
    """Of which users a preview knows."""

    seen = StrictInteger(
        required=True, metadata={"description": "how many users of the last hour were looked at"}
    )
    population = StrictInteger(
        required=True, metadata={"description": "about how many users there were in the last hour"}
    )


class PreviewAnswer(SampledUsers):
    """Who of the recently seen users would get another variant."""

    changed = StrictInteger(
        required=True, metadata={"description": "how many of `seen` would get another variant"}
    )
    share = fields.Nested(
        ShareSchema,
        required=True,
        allow_none=True,
        metadata={"description": "of the users who would change; null: nobody was seen"},
    )
    moves = fields.List(
        fields.Nested(MoveSchema),
        required=True,
        data_key="by",
        metadata={"description": "by flag and variant, the largest first"},
    )
    variants = fields.List(
        fields.Nested(VariantUsersSchema),
        required=True,
        metadata={
            "description": "how many of `seen` get each variant of each of `flags`, before and "
            "after the change"
        },
    )
    flags = fields.List(
        fields.String(),
        required=True,
        metadata={"description": "the flags that the change can touch, and that were compared"},
    )
    text = fields.String(required=True, metadata={"description": "the same in words"})
    caveats = fields.List(
        fields.String(), required=True, metadata={"description": "what the sample cannot tell"}
    )


class RestoredReleaseSchema(Strict):
    """The release that the kill stopped, as it would be after the restore."""

    id = fields.String(required=True)
    state = fields.Enum(State, by_value=True, required=True)
    treatment = fields.String(required=True)
    control = fields.String(required=True)
    percentage = Percent(
        required=True,
        allow_none=True,
        metadata={"description": "of its stage's users who would get the treatment"},
    )


class RestoreInstancesSchema(Strict):
    """The live instances, and how many of them have started since the kill."""

    live = StrictInteger(required=True)
    started_since = StrictInteger(
        required=True,
        metadata={"description": "0: none runs other code than when the flag was killed"},
    )


class RestorePreviewAnswer(Strict):
    """What a restore would bring back."""

    serves = fields.Nested(
        ServeSchema,
        required=True,
        metadata={"description": "what the default serves; a release and rules come before it"},
    )
    enabled = StrictBoolean(
        required=True, metadata={"description": "false: the flag is disabled, also without a kill"}
    )
    release = fields.Nested(
        RestoredReleaseSchema,
        required=True,
        allow_none=True,
        metadata={"description": "null: the kill stopped none"},
    )
    instances = fields.Nested(RestoreInstancesSchema, required=True)
    users = fields.Nested(PreviewAnswer, required=True)


class SegmentReachSchema(SampledUsers):
    """How many of the recently seen users of an environment a segment holds."""

    environment = fields.String(required=True)
    held = StrictInteger(
        required=True, metadata={"description": "how many of `seen` the segment holds"}
    )
    share = fields.Nested(
        ShareSchema,
        required=True,
        allow_none=True,
        metadata={"description": "of the users whom it holds; null: nobody was seen"},
    )
    text = fields.String(required=True, metadata={"description": "the same in words"})
    caveats = fields.List(
        fields.String(), required=True, metadata={"description": "what the sample cannot tell"}
    )


class SegmentReachAnswer(Strict):
    """How many recently seen users a segment holds, in each environment."""

    items = fields.List(fields.Nested(SegmentReachSchema), required=True)


class ActionPreviewBody(Strict):
    """An action on a release to preview."""

    action = fields.String(required=True, validate=validate.OneOf(ACTIONS))

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the action."""
        return data["action"]


class SeenUserAnswer(Strict):
    """A recently seen user of the sample."""

    name = fields.String(
        required=True, metadata={"description": "a hash of the targeting key, which is not known"}
    )
    attributes = AnyJson(
        required=True,
        metadata={"type": "object", "description": "those that rules and segments compare"},
    )
    seen_at = Instant(
        attribute="seen_ms",
        required=True,
        metadata={"description": "when a report last named it, to about a minute"},
    )


SeenUserPage = page_schema(
    "SeenUserPage",
    SeenUserAnswer,
    total=StrictInteger(required=True, metadata={"description": "how many users are known"}),
    population=StrictInteger(
        required=True, metadata={"description": "about how many users there were in the last hour"}
    ),
)
