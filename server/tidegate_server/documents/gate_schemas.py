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
from tidegate_server.documents.strict_schema import Strict
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

MOST = 200
TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]|24:00")


class ApprovalSchema(Strict):
    """People who must agree before the release leaves a stage."""

    approvers = BoundedList(
        BoundedString(200, min_length=1),
        load_default=list,
        max_items=MOST,
        metadata={"description": "names of tokens; without it, everyone who may write"},
    )
    count = StrictInteger(load_default=1, validate=validate.Range(min=1, max=100))
    timeout = Duration(attribute="timeout_ms", load_default=None, allow_none=True)
    on_timeout = fields.Enum(OnTimeout, by_value=True, load_default=OnTimeout.HOLD)
    not_the_starter = StrictBoolean(
        load_default=False,
        metadata={"description": "whoever started the release may not approve it"},
    )

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> Any:
        """The gate."""
        return ApprovalGate(**{**data, "approvers": tuple(data["approvers"])})


class TimeOfDay(PatternString):
    """A time on the wall clock, ``09:30``; minutes after midnight inside."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(TIME, "A time of day is written 09:30, from 00:00 to 24:00.", **kwargs)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        hours, minutes = super()._deserialize(value, *args, **kwargs).split(":")
        return int(hours) * 60 + int(minutes)

    def _serialize(self, value: Any, *args: Any, **kwargs: Any) -> str | None:
        return None if value is None else f"{value // 60:02d}:{value % 60:02d}"


# "from" cannot be a class attribute, so these two schemas are made from dictionaries.
class _AdvanceWindow(Strict):
    """Hours of some days in which a percentage may be raised."""

    days = BoundedList(
        fields.Enum(Day, by_value=True),
        load_default=lambda: list(EVERY_DAY),
        min_items=1,
        max_items=7,
    )

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """The window."""
        if data["opens"] == 24 * 60:
            raise ValidationError({"from": ["A window opens before 24:00; write 00:00."]})
        if data["closes"] == 0:
            raise ValidationError({"to": ["A window that closes at midnight closes at 24:00."]})
        return AdvanceWindow(tuple(data["days"]), data["opens"], data["closes"])


AdvanceWindowSchema = _AdvanceWindow.from_dict(
    {
        "from": TimeOfDay(attribute="opens", load_default=0, metadata={"default": "00:00"}),
        "to": TimeOfDay(attribute="closes", load_default=24 * 60, metadata={"default": "24:00"}),
    },
    name="AdvanceWindowSchema",
)


class _Freeze(Strict):
    """A time in which no percentage is raised."""

    reason = BoundedString(500, load_default="")

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """The freeze."""
        return Freeze(**data)


FreezeSchema = _Freeze.from_dict(
    {
        "from": BoundedString(40, min_length=10, required=True, attribute="begins"),
        "to": BoundedString(40, min_length=10, required=True, attribute="ends"),
    },
    name="FreezeSchema",
)


class WindowsSchema(Strict):
    """When a percentage may be raised; a rollback is never delayed."""

    timezone = BoundedString(
        100, min_length=1, load_default="UTC", metadata={"description": "IANA name"}
    )
    advance = BoundedList(
        fields.Nested(AdvanceWindowSchema),
        load_default=list,
        max_items=MOST,
        metadata={"description": "in any of these; without it, always"},
    )
    freeze = BoundedList(fields.Nested(FreezeSchema), load_default=list, max_items=MOST)

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """The windows."""
        return Windows(data["timezone"], tuple(data["advance"]), tuple(data["freeze"]))


class RollbackSchema(Strict):
    """What a failure does while retries remain; after the last one everyone gets control."""

    to = fields.Enum(RollbackTo, by_value=True, load_default=RollbackTo.ZERO)
    cooldown = Duration(
        attribute="cooldown_ms", load_default=30 * MINUTE, metadata={"default": "30m"}
    )
    max_retries = StrictInteger(load_default=0, validate=validate.Range(min=0, max=100))

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """What a failure does."""
        return Rollback(**data)


class NotificationSchema(Strict):
    """A webhook and the events it is told."""

    webhook = Key(required=True)
    events = BoundedList(
        fields.Enum(Event, by_value=True),
        load_default=list,
        max_items=len(Event),
        metadata={"description": "without it, all of them"},
    )

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Whom to tell what."""
        return Notification(data["webhook"], tuple(data["events"]))


class ConfirmationSchema(Strict):
    """A webhook that is asked before a percentage is raised."""

    webhook = Key(required=True)

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Whom to ask."""
        return Confirmation(**data)
