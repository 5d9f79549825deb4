"""Reports as SDKs of this version send them, checked and read in one step from their bytes.

``ReportBody`` reads every report that the server accepts, and says what is wrong with others; that
takes milliseconds. What is read here, in a fraction of that, ``ReportBody`` would read as the same
report: each limit here is one of its own. Everything else is left to it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, Literal, TypeAlias, cast

import msgspec
from marshmallow import ValidationError
from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from tidegate.counts import Counts

from tidegate_server.domain.evidence import GroupCounts, GroupValues, Histogram, Trips
from tidegate_server.domain.field_problems import KEY, NAME
from tidegate_server.domain.seen_users import SeenUser
from tidegate_server.errors import Unreadable
from tidegate_server.sdk_api import report_schemas as limits
from tidegate_server.store.reports import FailingUsers, FlagEvaluations, Report, SampledUsers
from tidegate_server.strict_text import parse_json
from tidegate_server.visible_text import CONTROL

_USER_FIELDS = frozenset({"user", "attributes"})
_VISIBLE = rf"\A[^{CONTROL.pattern[1:-1]}]*\Z"

MOST_KEPT = 4_096
LONGEST_KEPT = 500
"""Every instance reports the users of one sample: so many of them are read once, if they are not
longer than so many bytes."""

Total: TypeAlias = Annotated[int, Meta(ge=0, le=limits.LARGEST_COUNT)]
Operations: TypeAlias = Annotated[int, Meta(ge=0, le=limits.LARGEST_OPERATIONS)]
Hash: TypeAlias = Annotated[int, Meta(ge=0, le=limits.LARGEST_HASH)]
Hashes: TypeAlias = Annotated[tuple[Hash, ...], Meta(max_length=limits.MAX_SAMPLED)]
User: TypeAlias = Annotated[str, Meta(pattern=rf"\A{limits.USER_HASH.pattern}\Z")]
Name: TypeAlias = Annotated[str, Meta(pattern=rf"\A{NAME.pattern}\Z")]
Bucket: TypeAlias = Annotated[str, Meta(pattern=rf"\A{limits.BUCKET.pattern}\Z")]
ReleaseId: TypeAlias = Annotated[str, Meta(min_length=1, max_length=limits.MAX_RELEASE_ID)]
Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=limits.LONGEST_SECONDS)]


class _Part(Struct, forbid_unknown_fields=True, gc=False):
    pass


class _Arm(_Part):
    exposures: Operations
    outcomes: Operations
    errors: Operations
    microseconds: Total

    def counts(self) -> Counts:
        return Counts(self.exposures, self.outcomes, self.errors, microseconds=self.microseconds)


class _Group(_Part):
    release: ReleaseId
    step: Total
    stratum: Total
    control: _Arm
    treatment: _Arm


class _Failing(_Part):
    release: ReleaseId
    step: Total
    stratum: Total
    arm: Literal["control", "treatment"]
    users: Annotated[tuple[User, ...], Meta(max_length=limits.MAX_USERS)]
    overflow: Operations


class _Sample(_Part):
    release: ReleaseId
    step: Total
    stratum: Total
    bits: Annotated[int, Meta(ge=0, le=limits.MAX_BITS)]
    control: Hashes
    treatment: Hashes


class _Values(_Part):
    release: ReleaseId
    step: Total
    stratum: Total
    measure: Name
    control: dict[Bucket, Operations]
    treatment: dict[Bucket, Operations]


class _Trips(_Part):
    release: ReleaseId
    count: Operations
    milliseconds: Total


class _Evaluations(_Part):
    flag: Annotated[str, Meta(pattern=rf"\A{KEY.pattern}\Z")]
    variants: Annotated[dict[Name, Operations], Meta(max_length=limits.MAX_VARIANTS)]
    defaults: Operations
    estimated: bool


class _Report(_Part):
    schema: Literal[2]
    instance: Annotated[str, Meta(pattern=rf"\A{limits.INSTANCE_ID.pattern}\Z")]
    sequence: Annotated[int, Meta(ge=1, le=limits.LARGEST_COUNT)]
    continues: bool
    version: Total
    interval: Annotated[float, Meta(ge=0, le=limits.MAX_INTERVAL)]
    sdk: Annotated[str, Meta(max_length=limits.MAX_SDK, pattern=_VISIBLE)]
    host: Annotated[str, Meta(max_length=limits.MAX_HOST, pattern=_VISIBLE)]
    pid: Total
    counts: Annotated[tuple[_Group, ...], Meta(max_length=limits.MAX_GROUPS)]
    failing: Annotated[tuple[_Failing, ...], Meta(max_length=limits.MAX_ARMS)]
    samples: Annotated[tuple[_Sample, ...], Meta(max_length=limits.MAX_GROUPS)]
    application: Annotated[str, Meta(max_length=limits.MAX_APPLICATION, pattern=_VISIBLE)] | (
        UnsetType
    ) = UNSET
    uptime: Seconds | UnsetType | None = UNSET
    version_age: Seconds | UnsetType | None = UNSET
    values: Annotated[tuple[_Values, ...], Meta(max_length=limits.MAX_VALUES)] | UnsetType = UNSET
    trips: Annotated[tuple[_Trips, ...], Meta(max_length=limits.MAX_GROUPS)] | UnsetType = UNSET
    evaluations: Annotated[tuple[_Evaluations, ...], Meta(max_length=limits.MAX_FLAGS)] | (
        UnsetType
    ) = UNSET
    seen_users: Annotated[tuple[Raw, ...], Meta(max_length=limits.MAX_SEEN)] | UnsetType = UNSET
    leaving: bool | UnsetType = UNSET


_decoder = msgspec.json.Decoder(_Report)
_attributes, _lists = limits.SeenAttributes(), limits.KnownLists()


def read_plain(body: bytes, token: str = "") -> Report | None:
    """Return the report in a JSON text, which a token of this name sent.

    None: ``ReportBody`` has to read it.
    """
    try:
        if b"\\" in body:
            body = msgspec.json.encode(parse_json(body.decode(), "The body"))
        sent = _decoder.decode(body)
        if _has_a_key_twice(body, sent):
            return None
        seen_users = tuple([_seen_user(bytes(each)) for each in sent.seen_users or ()])
    except (msgspec.MsgspecError, UnicodeDecodeError, Unreadable, ValidationError):
        return None
    return Report(
        instance=sent.instance,
        sequence=sent.sequence,
        continues=sent.continues,
        version=sent.version,
        interval=sent.interval,
        sdk=sent.sdk,
        host=sent.host,
        pid=sent.pid,
        counts=tuple(
            (
                each.release,
                GroupCounts(
                    each.step, each.stratum, each.control.counts(), each.treatment.counts()
                ),
            )
            for each in sent.counts
        ),
        failing=tuple(
            (
                each.release,
                FailingUsers(each.step, each.stratum, each.arm, each.users, each.overflow),
            )
            for each in sent.failing
        ),
        samples=tuple(
            (
                each.release,
                SampledUsers(each.step, each.stratum, each.bits, each.control, each.treatment),
            )
            for each in sent.samples
        ),
        values=tuple(
            (
                each.release,
                GroupValues(
                    each.step,
                    each.stratum,
                    each.measure,
                    _histogram(each.control),
                    _histogram(each.treatment),
                ),
            )
            for each in sent.values or ()
        ),
        trips=tuple(
            (each.release, Trips(each.count, each.milliseconds)) for each in sent.trips or ()
        ),
        application=sent.application or "",
        token=token,
        uptime=_given(sent.uptime),
        version_age=_given(sent.version_age),
        evaluations=tuple(
            FlagEvaluations(each.flag, tuple(each.variants.items()), each.defaults, each.estimated)
            for each in sent.evaluations or ()
        ),
        seen_users=seen_users,
        leaving=bool(sent.leaving),
    )


def _has_a_key_twice(body: bytes, sent: _Report) -> bool:
    """Return whether an object in a text without escapes has a key twice, which decoding hides.

    Every key has a colon. The decoded values have the colons of one occurrence of each key, and of
    their texts; what a second occurrence adds to the text has at least one more.
    """
    return body.count(b":") != msgspec.json.encode(sent).count(b":")


def _seen_user(text: bytes) -> SeenUser:
    return _kept_seen_user(text) if len(text) <= LONGEST_KEPT else _read_seen_user(text)


def _read_seen_user(text: bytes) -> SeenUser:
    """Return the seen user in a part of a report.

    Raises:
        Unreadable, ValidationError: the schema has to say what is wrong.
    """
    part = parse_json(text.decode(), "The body")
    if not isinstance(part, dict) or not _USER_FIELDS <= part.keys() <= {*_USER_FIELDS, "lists"}:
        raise ValidationError("other fields")
    user = part["user"]
    if not isinstance(user, str) or limits.USER_HASH.fullmatch(user) is None:
        raise ValidationError("no user")
    # Neither allows null, so neither returns None.
    attributes = cast(dict[str, Any], _attributes.deserialize(part["attributes"]))
    lists = cast(dict[str, bool], _lists.deserialize(part.get("lists", {})))
    return SeenUser(user, attributes, lists)


_kept_seen_user = lru_cache(MOST_KEPT)(_read_seen_user)


def _given(seconds: float | UnsetType | None) -> float | None:
    return None if isinstance(seconds, UnsetType) else seconds


def _histogram(counts: dict[str, int]) -> Histogram:
    return tuple(sorted((int(bucket), count) for bucket, count in counts.items()))
