"""Reports of SDK instances as JSON, as in ``docs/wire/report.schema.json``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from marshmallow import ValidationError, fields, post_load, validate, validates_schema
from tidegate.context import is_text
from tidegate.counts import Counts
from tidegate.user_sample import MAX_BITS

from tidegate_server.documents.fields import (
    BoundedList,
    BoundedString,
    Key,
    Length,
    Name,
    Number,
    PatternString,
    StrictBoolean,
    StrictInteger,
    query_boolean,
)
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.domain.evidence import GroupCounts, GroupValues, Trips
from tidegate_server.domain.field_problems import NAME
from tidegate_server.domain.seen_users import (
    LONGEST_ATTRIBUTE,
    MOST_ATTRIBUTES,
    MOST_KEY_LISTS,
    SeenUser,
)
from tidegate_server.store.reports import FailingUsers, FlagEvaluations, Report, SampledUsers
from tidegate_server.visible_text import CONTROL

SCHEMA_VERSIONS = (1, 2)
SAMPLES_SINCE = 2
"""The schema in which reports got ``samples``."""

LARGEST_COUNT = 2**53
"""JSON numbers up to this are exact in every language."""

LARGEST_HASH = 2**32 - 1
LARGEST_OPERATIONS = 10**12
"""The most operations that one process counts in one step: a million per second for days."""

MAX_GROUPS = 1_000
MAX_ARMS = 2 * MAX_GROUPS
MAX_USERS = 10_000
MAX_SAMPLED = 10_000
MAX_VALUES = 8_000
MAX_INTERVAL = 3_600
MAX_RELEASE_ID = 100
MAX_SDK = 200
MAX_HOST = 300
MAX_APPLICATION = 100
MAX_SEEN = 500
LARGEST_SEEN = 20_000
LARGEST_NUMBER = 2.0**63
LONGEST_SECONDS = 10 * 366 * 24 * 60 * 60
MAX_FLAGS = 10_000
MAX_VARIANTS = 1_000

SALT = re.compile(r"[0-9a-f]{1,64}")

BUCKET = re.compile(r"(0|-?([1-9][0-9]?|[1-3][0-9]{2}|4[0-7][0-9]|48[01]))")
"""The number of a bucket, at most ``LARGEST_BUCKET`` of ``tidegate.histogram`` either way."""

USER_HASH = re.compile(r"[0-9a-f]{16}")
INSTANCE_ID = re.compile(r"[0-9a-f]{32}")


class Count(StrictInteger):
    """A whole number as in JSON Schema, where ``4.0`` is one."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> int:
        whole = isinstance(value, float) and value.is_integer()
        return super()._deserialize(int(value) if whole else value, *args, **kwargs)


def _count(least: int = 0) -> Count:
    return Count(required=True, validate=validate.Range(min=least, max=LARGEST_COUNT))


def _operations() -> Count:
    return Count(required=True, validate=validate.Range(min=0, max=LARGEST_OPERATIONS))


class BoundedTuple(BoundedList):
    """A bounded list that loads as a tuple."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        return tuple(super()._deserialize(value, *args, **kwargs))


class Histogram(fields.Dict):
    """An object from bucket number to count; loads as sorted pairs."""

    def __init__(self) -> None:
        super().__init__(
            keys=PatternString(BUCKET, "The number of a bucket is expected here, -481 to 481."),
            values=_operations(),
            required=True,
            metadata={"propertyNames": {"pattern": f"^{BUCKET.pattern}$"}},
        )

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            counts: dict[str, int] = super()._deserialize(value, *args, **kwargs)  # type: ignore[no-untyped-call]
        except ValidationError as error:
            raise _one_pointer_for_each(error) from None
        return tuple(sorted((int(number), count) for number, count in counts.items()))


def _one_pointer_for_each(error: ValidationError) -> ValidationError:
    """Return an error of an object with a JSON pointer per key, whether key or value is wrong."""
    messages = error.messages
    if not isinstance(messages, dict):
        return error
    return ValidationError(
        {key: each.get("key") or each["value"] for key, each in messages.items()}
    )


class ArmTotalsSchema(Strict):
    """Totals of one arm since the instance started."""

    exposures = _operations()
    outcomes = _operations()
    errors = _operations()
    microseconds = _count()

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the arm's counts."""
        return Counts(**data)


class ReleasePart(Strict):
    """A part of a report that is about one release; loads as the release's id and the part."""

    part: ClassVar[type]

    release = fields.String(required=True, validate=Length(min=1, max=MAX_RELEASE_ID))

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> Any:
        """Return the release's id and the part."""
        release = data.pop("release")
        return release, self.part(**data)


class GroupTotalsSchema(ReleasePart):
    """Both arms of one stratum in one step of a release."""

    part = GroupCounts

    step = _count()
    stratum = _count()
    control = fields.Nested(ArmTotalsSchema, required=True)
    treatment = fields.Nested(ArmTotalsSchema, required=True)


class FailingUsersSchema(ReleasePart):
    """Users who failed since the last acknowledged report, and how many had no room."""

    part = FailingUsers

    step = _count()
    stratum = _count()
    arm = fields.String(required=True, validate=validate.OneOf(("control", "treatment")))
    users = BoundedTuple(
        PatternString(USER_HASH, "16 hex digits are expected here."),
        required=True,
        max_items=MAX_USERS,
    )
    overflow = _operations()


def _hashes() -> BoundedTuple:
    return BoundedTuple(
        Count(required=True, validate=validate.Range(min=0, max=LARGEST_HASH)),
        required=True,
        max_items=MAX_SAMPLED,
    )


class SampledUsersSchema(ReleasePart):
    """Users of a group's sample since the last acknowledged report."""

    part = SampledUsers

    step = _count()
    stratum = _count()
    bits = Count(required=True, validate=validate.Range(min=0, max=MAX_BITS))
    control = _hashes()
    treatment = _hashes()


class GroupValuesSchema(ReleasePart):
    """The values of one measure in both arms of one stratum in one step of a release."""

    part = GroupValues

    step = _count()
    stratum = _count()
    measure = Name(required=True)
    control = Histogram()
    treatment = Histogram()


class TripsSchema(ReleasePart):
    """How often the instance closed a release by itself, and the sum of these times."""

    part = Trips

    count = _operations()
    milliseconds = _count()


class VariantCounts(fields.Dict):
    """An object from variant to count; loads as pairs."""

    def __init__(self) -> None:
        super().__init__(
            keys=Name(),
            values=_operations(),
            required=True,
            validate=Length(max=MAX_VARIANTS),
            metadata={
                "propertyNames": {"pattern": f"^{NAME.pattern}$"},
                "maxProperties": MAX_VARIANTS,
            },
        )

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            counts: dict[str, int] = super()._deserialize(value, *args, **kwargs)  # type: ignore[no-untyped-call]
        except ValidationError as error:
            raise _one_pointer_for_each(error) from None
        return tuple(counts.items())


class FlagEvaluationsSchema(Strict):
    """How often one flag was evaluated since the instance started."""

    flag = Key(required=True)
    variants = VariantCounts()
    defaults = _operations()
    estimated = StrictBoolean(required=True)

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the evaluations of the flag."""
        return FlagEvaluations(**data)


class SeenAttributes(fields.Field[dict[str, Any]]):
    """The attributes of a seen user: scalars, or lists of scalars."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if not isinstance(value, dict) or len(value) > MOST_ATTRIBUTES:
            raise ValidationError(f"An object with at most {MOST_ATTRIBUTES} names is expected.")
        for name, each in value.items():
            parts = each if isinstance(each, list) else [each]
            if len(name) > LONGEST_ATTRIBUTE or not all(map(_is_plain, parts)):
                raise ValidationError(
                    {name: "A string, a number, a boolean or a list of them is expected."}
                )
        if len(json.dumps(value)) > LARGEST_SEEN:
            raise ValidationError(f"As JSON, at most {LARGEST_SEEN} characters are expected.")
        return value


def _is_plain(value: object) -> bool:
    if isinstance(value, str):
        return is_text(value)
    if isinstance(value, bool):
        return True
    # Others can be stored as JSON only by some.
    return isinstance(value, int | float) and abs(value) <= LARGEST_NUMBER


class KnownLists(fields.Field[dict[str, bool]]):
    """Whether lists of uploaded keys have a user's key, by the salts of the lists."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> dict[str, bool]:
        if not isinstance(value, dict) or len(value) > MOST_KEY_LISTS:
            raise ValidationError(f"An object with at most {MOST_KEY_LISTS} names is expected.")
        for salt, has in value.items():
            if SALT.fullmatch(salt) is None or not isinstance(has, bool):
                raise ValidationError({salt: "A salt is expected here, with true or false."})
        return value


class SeenUserSchema(Strict):
    """A user who was seen lately."""

    user = PatternString(USER_HASH, "16 hex digits are expected here.", required=True)
    attributes = SeenAttributes(
        required=True,
        metadata={
            "type": "object",
            "description": "those that the server asks for, by their dotted paths",
        },
    )

    lists = KnownLists(
        load_default=dict,
        metadata={
            "type": "object",
            "description": "whether the `key_lists` of the answer have the user's key; those that "
            "the instance does not have are left out",
        },
    )

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the user."""
        return SeenUser(data["user"], data["attributes"], data["lists"])


class ReportBody(Strict):
    """One report of one instance."""

    large_body = True

    schema = Count(
        required=True,
        validate=validate.OneOf(
            SCHEMA_VERSIONS, error="This server understands the schemas 1 and 2."
        ),
    )
    instance = PatternString(INSTANCE_ID, "32 hex digits are expected here.", required=True)
    sequence = _count(1)
    continues = StrictBoolean(required=True)
    version = _count()
    interval = Number(
        required=True,
        validate=validate.Range(min=0, max=MAX_INTERVAL),
        metadata={"description": "seconds until the next report"},
    )
    sdk = BoundedString(MAX_SDK, refused=CONTROL, required=True)
    host = BoundedString(MAX_HOST, refused=CONTROL, required=True)
    pid = _count()
    application = BoundedString(
        MAX_APPLICATION, refused=CONTROL, load_default="", metadata={"description": "its name"}
    )
    uptime = Number(
        load_default=None,
        validate=validate.Range(min=0, max=LONGEST_SECONDS),
        metadata={"description": "for how many seconds the instance has run"},
    )
    version_age = Number(
        load_default=None,
        validate=validate.Range(min=0, max=LONGEST_SECONDS),
        metadata={"description": "how many seconds ago it applied its version"},
    )
    counts = BoundedTuple(fields.Nested(GroupTotalsSchema), required=True, max_items=MAX_GROUPS)
    failing = BoundedTuple(fields.Nested(FailingUsersSchema), required=True, max_items=MAX_ARMS)
    samples = BoundedTuple(fields.Nested(SampledUsersSchema), max_items=MAX_GROUPS)
    values = BoundedTuple(
        fields.Nested(GroupValuesSchema), load_default=tuple, max_items=MAX_VALUES
    )
    trips = BoundedTuple(fields.Nested(TripsSchema), load_default=tuple, max_items=MAX_GROUPS)
    evaluations = BoundedTuple(
        fields.Nested(FlagEvaluationsSchema), load_default=tuple, max_items=MAX_FLAGS
    )

    seen_users = BoundedTuple(fields.Nested(SeenUserSchema), load_default=tuple, max_items=MAX_SEEN)
    leaving = StrictBoolean(load_default=False, metadata={"description": "this is the last report"})

    @validates_schema
    def check_samples(self, data: Mapping[str, Any], **_: Any) -> None:
        """Check that samples are there exactly if the schema has them."""
        if data["schema"] < SAMPLES_SINCE and "samples" in data:
            raise ValidationError(
                f"Schema {data['schema']} has no samples; send schema {SAMPLES_SINCE}.", "samples"
            )
        if data["schema"] >= SAMPLES_SINCE and "samples" not in data:
            raise ValidationError(
                f"Schema {data['schema']} has samples; send an empty list if there are no users.",
                "samples",
            )

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> Any:
        """Return the report."""
        schema = data.pop("schema")
        return Report(**data, has_samples=schema >= SAMPLES_SINCE)


class ReportQuery(Strict):
    """The query string of a report."""

    dry_run = query_boolean("check the report, and count nothing")


class WantedUsersSchema(Strict):
    """Which recently seen users the next reports name, and how."""

    secret = fields.String(required=True, metadata={"description": "the key of the hashes"})
    below = StrictInteger(
        required=True,
        metadata={"description": "a user belongs if the first 32 bits of the hash are less"},
    )
    attributes = fields.List(
        fields.String(), required=True, metadata={"description": "those to report, if present"}
    )
    key_lists = fields.List(
        fields.String(),
        required=True,
        metadata={"description": "lists of uploaded keys, by the salts of their key sets"},
    )


class ReportAnswer(Strict):
    """The answer to a report."""

    version = StrictInteger(
        required=True, metadata={"description": "the environment's latest version"}
    )
    ignored = StrictInteger(
        required=True,
        metadata={
            "description": "how many entries of counts, failing, samples, values and trips were "
            "not counted, because their release has ended or their step is long over"
        },
    )
    seen_users = fields.Nested(
        WantedUsersSchema,
        required=True,
        allow_none=True,
        metadata={"description": "null: name no users in reports"},
    )
