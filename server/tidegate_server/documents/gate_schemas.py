"""The gates of a policy: approvals, windows, retries, webhooks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields, post_load, validate

from tidegate_server.documents.fields import (
    BoundedList,
    BoundedString,
    Duration,
    Key,
    PatternString,
    StrictBoolean,
    StrictInteger,
)
from tidegate_server.documents.strict_schema import DataclassSchema
from tidegate_server.domain.policy import MINUTE
from tidegate_server.domain.release_gates import (
    EVERY_DAY,
    AdvanceWindow,
    ApprovalGate,
    Confirmation,
    Day,
    Event,
    Freeze,
    Notification,
    OnTimeout,
    Rollback,
    RollbackTo,
    Windows,
)

MAX_ITEMS = 200
TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]|24:00")


class ApprovalSchema(DataclassSchema):
    """People who must approve before the release leaves a stage."""

    loads_into = ApprovalGate

    approvers = BoundedList(
        BoundedString(200, min_length=1),
        load_default=list,
        max_items=MAX_ITEMS,
        metadata={"description": "names of tokens; without it, everyone who may write"},
    )
    count = StrictInteger(load_default=1, validate=validate.Range(min=1, max=100))
    timeout = Duration(attribute="timeout_ms", load_default=None, allow_none=True)
    on_timeout = fields.Enum(OnTimeout, by_value=True, load_default=OnTimeout.HOLD)
    not_the_starter = StrictBoolean(
        load_default=False,
        metadata={"description": "the person who started the release may not approve it"},
    )


class TimeOfDay(PatternString):
    """A wall-clock time, ``09:30``; minutes after midnight in Python."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(TIME, "Write a time of day like 09:30, from 00:00 to 24:00.", **kwargs)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        hours, minutes = super()._deserialize(value, *args, **kwargs).split(":")
        return int(hours) * 60 + int(minutes)

    def _serialize(self, value: Any, *args: Any, **kwargs: Any) -> str | None:
        return None if value is None else f"{value // 60:02d}:{value % 60:02d}"


# "from" cannot be a class attribute, so these two schemas are made from dictionaries.
class _AdvanceWindow(DataclassSchema):
    """Hours of some weekdays in which a percentage may be raised."""

    loads_into = AdvanceWindow

    days = BoundedList(
        fields.Enum(Day, by_value=True),
        load_default=lambda: list(EVERY_DAY),
        min_items=1,
        max_items=7,
    )

    @post_load
    def build(self, data: Mapping[str, Any], **kwargs: Any) -> Any:
        """Return the window."""
        if data["opens"] == 24 * 60:
            raise ValidationError({"from": ["A window opens before 24:00; write 00:00."]})
        if data["closes"] == 0:
            raise ValidationError({"to": ["Write 24:00 for a window that closes at midnight."]})
        return super().build(data, **kwargs)


AdvanceWindowSchema = _AdvanceWindow.from_dict(
    {
        "from": TimeOfDay(attribute="opens", load_default=0, metadata={"default": "00:00"}),
        "to": TimeOfDay(attribute="closes", load_default=24 * 60, metadata={"default": "24:00"}),
    },
    name="AdvanceWindowSchema",
)


class _Freeze(DataclassSchema):
    """A time in which no percentage is raised."""

    loads_into = Freeze

    reason = BoundedString(500, load_default="")


FreezeSchema = _Freeze.from_dict(
    {
        "from": BoundedString(40, min_length=10, required=True, attribute="begins"),
        "to": BoundedString(40, min_length=10, required=True, attribute="ends"),
    },
    name="FreezeSchema",
)


class WindowsSchema(DataclassSchema):
    """When a percentage may be raised. Rollbacks are never delayed."""

    loads_into = Windows

    timezone = BoundedString(
        100, min_length=1, load_default="UTC", metadata={"description": "IANA name"}
    )
    advance = BoundedList(
        fields.Nested(AdvanceWindowSchema),
        load_default=list,
        max_items=MAX_ITEMS,
        metadata={"description": "in any of these; without it, always"},
    )
    freeze = BoundedList(fields.Nested(FreezeSchema), load_default=list, max_items=MAX_ITEMS)


class RollbackSchema(DataclassSchema):
    """What a failure does while retries are left. After the last one everyone gets control."""

    loads_into = Rollback

    to = fields.Enum(RollbackTo, by_value=True, load_default=RollbackTo.ZERO)
    cooldown = Duration(
        attribute="cooldown_ms", load_default=30 * MINUTE, metadata={"default": "30m"}
    )
    max_retries = StrictInteger(load_default=0, validate=validate.Range(min=0, max=100))


class NotificationSchema(DataclassSchema):
    """A webhook, and the events of which it is notified."""

    loads_into = Notification

    webhook = Key(required=True)
    events = BoundedList(
        fields.Enum(Event, by_value=True),
        load_default=list,
        max_items=len(Event),
        metadata={"description": "without it, all of them"},
    )


class ConfirmationSchema(DataclassSchema):
    """A webhook that must agree before a percentage is raised."""

    loads_into = Confirmation

    webhook = Key(required=True)
