"""Reports of SDK instances as JSON; ``docs/wire/report.schema.json`` says the same."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields, post_load, validate

from tidegate_server.documents.fields import (
    BoundedList,
    BoundedString,
    Name,
    Number,
    PatternString,
    StrictBoolean,
    StrictInteger,
)
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.store.reports import (
    ArmTotals,
    FailingUsers,
    GroupTotals,
    GroupValues,
    ReleaseTrips,
    Report,
)

SCHEMA_VERSION = 1
LARGEST_COUNT = 2**53
"""What a number of JSON holds exactly in every language."""

MOST_GROUPS = 5_000
MOST_USERS = 10_000
MOST_VALUES = 20_000
LONGEST_INTERVAL = 3_600

BUCKET = re.compile(r"(0|-?([1-9][0-9]?|[1-3][0-9]{2}|4[0-7][0-9]|48[01]))")
"""The number of a bucket, up to ``LARGEST_BUCKET`` of ``tidegate.histogram`` either way."""

USER_HASH = re.compile(r"[0-9a-f]{16}")
INSTANCE_ID = re.compile(r"[0-9a-f]{32}")


class Count(StrictInteger):
    """A whole number as JSON Schema has it: languages without integers may write ``4.0``."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> int:
        whole = isinstance(value, float) and value.is_integer()
        return super()._deserialize(int(value) if whole else value, *args, **kwargs)


def _whole(least: int) -> Count:
    return Count(required=True, validate=validate.Range(min=least, max=LARGEST_COUNT))


def _release() -> fields.String:
    return fields.String(required=True, validate=validate.Length(min=1, max=100))


class ArmTotalsSchema(Strict):
    """Totals of one arm since the instance began."""

    exposures = _whole(0)
    outcomes = _whole(0)
    errors = _whole(0)
    microseconds = _whole(0)

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """The totals."""
        return ArmTotals(**data)


class GroupTotalsSchema(Strict):
    """Both arms of one stratum in one step of a release."""

    release = _release()
    step = _whole(0)
    stratum = _whole(0)
    control = fields.Nested(ArmTotalsSchema, required=True)
    treatment = fields.Nested(ArmTotalsSchema, required=True)

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """The totals of both arms."""
        return GroupTotals(**data)


class FailingUsersSchema(Strict):
    """Users who failed since the last acknowledged report, and how many had no room."""

    release = _release()
    step = _whole(0)
    stratum = _whole(0)
    arm = fields.String(required=True, validate=validate.OneOf(("control", "treatment")))
    users = BoundedList(
        PatternString(USER_HASH, "16 hex digits are expected here."),
        required=True,
        max_items=MOST_USERS,
    )
    overflow = _whole(0)

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """The users."""
        return FailingUsers(**{**data, "users": tuple(data["users"])})


class Histogram(fields.Dict):
    """Counts by the number of their bucket; pairs inside."""

    def __init__(self) -> None:
        super().__init__(
            keys=PatternString(BUCKET, "The number of a bucket is expected here, -481 to 481."),
            values=_whole(0),
            required=True,
            metadata={"propertyNames": {"pattern": f"^{BUCKET.pattern}$"}},
        )

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            counts: dict[str, int] = super()._deserialize(value, *args, **kwargs)  # type: ignore[no-untyped-call]
        except ValidationError as error:
            found = error.messages
            if not isinstance(found, dict):
                raise
            # A bucket is one place, whether its number or its count is wrong.
            words = {key: each.get("key") or each["value"] for key, each in found.items()}
            raise ValidationError(words) from None
        return tuple(sorted((int(number), count) for number, count in counts.items()))


class GroupValuesSchema(Strict):
    """The values of one measure in both arms of one stratum in one step of a release."""

    release = _release()
    step = _whole(0)
    stratum = _whole(0)
    measure = Name(required=True)
    control = Histogram()
    treatment = Histogram()

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """The values of both arms."""
        return GroupValues(**data)


class TripsSchema(Strict):
    """How often the instance closed a release for itself, and for how long altogether."""

    release = _release()
    count = _whole(0)
    milliseconds = _whole(0)

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """The trips."""
        return ReleaseTrips(**data)


class ReportBody(Strict):
    """One report of one instance."""

    large_body = True

    schema = Count(
        required=True,
        validate=validate.Equal(SCHEMA_VERSION, error="This server understands schema 1."),
    )
    instance = PatternString(INSTANCE_ID, "32 hex digits are expected here.", required=True)
    sequence = _whole(1)
    continues = StrictBoolean(required=True)
    version = _whole(0)
    interval = Number(
        required=True,
        validate=validate.Range(min=0, max=LONGEST_INTERVAL),
        metadata={"description": "seconds until the next report"},
    )
    sdk = BoundedString(200, required=True)
    host = BoundedString(300, required=True)
    pid = _whole(0)
    counts = BoundedList(fields.Nested(GroupTotalsSchema), required=True, max_items=MOST_GROUPS)
    failing = BoundedList(fields.Nested(FailingUsersSchema), required=True, max_items=MOST_GROUPS)
    values = BoundedList(fields.Nested(GroupValuesSchema), load_default=list, max_items=MOST_VALUES)
    trips = BoundedList(fields.Nested(TripsSchema), load_default=list, max_items=MOST_GROUPS)
    leaving = StrictBoolean(load_default=False, metadata={"description": "this is the last report"})

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """The report."""
        said = {name: value for name, value in data.items() if name != "schema"}
        for name in ("counts", "failing", "values", "trips"):
            said[name] = tuple(data[name])
        return Report(**said)


class VersionAnswer(Strict):
    """What an instance gets for its report."""

    version = StrictInteger(
        required=True, metadata={"description": "the environment's newest version"}
    )
