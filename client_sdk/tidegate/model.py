"""Flags, segments and releases as a snapshot contains them.

The field names are those of the wire format (``docs/wire/``): a value written as JSON field by
field is the wire form. ``tidegate.wire`` parses it; ``tidegate.evaluation`` evaluates it.

The types of fields are no strings (``from __future__ import annotations``): msgspec compiles each
string when it makes a decoder, which takes more than half of its time.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import msgspec

from tidegate.runtime.late_imports import load

if TYPE_CHECKING:
    from dataclasses import Field

SCHEMA_VERSION = 1
"""The snapshot schema that this SDK reads; it refuses a newer one."""

Json: TypeAlias = Any
"""A JSON value. Generic decoders cannot handle a recursive alias."""

FlagType: TypeAlias = Literal["boolean", "string", "number", "object"]
Scalar: TypeAlias = bool | int | float | str | None

FLAG_TYPES: tuple[FlagType, ...] = ("boolean", "string", "number", "object")


class _DataclassFields:
    """Describes the fields of a class to ``dataclasses``, when that asks for the first time."""

    def __init__(self) -> None:
        self._known: dict[type, dict[str, Field[Any]]] = {}

    def __get__(self, _: object, owner: type[msgspec.Struct]) -> "dict[str, Field[Any]]":
        if owner not in self._known:
            self._known[owner] = _fields_of(owner)
        return self._known[owner]


def _fields_of(owner: type[msgspec.Struct]) -> "dict[str, Field[Any]]":
    dataclasses = load("dataclasses")
    described: list[tuple[str, Any, Any]] = []
    for each in msgspec.structs.fields(owner):
        field: Any = dataclasses.field()
        if each.default is not msgspec.NODEFAULT:
            field = dataclasses.field(default=each.default)
        elif each.default_factory is not msgspec.NODEFAULT:
            field = dataclasses.field(default_factory=each.default_factory)
        described.append((each.name, each.type, field))
    same: Any = dataclasses.make_dataclass(owner.__name__, described, frozen=True)
    fields: dict[str, Field[Any]] = same.__dataclass_fields__
    return fields


class Value(msgspec.Struct, frozen=True):
    """An immutable value with named fields.

    It is a ``Struct``, which takes less time to make and to decode than a dataclass. The functions
    of ``dataclasses`` (``replace``, ``fields``, ``asdict``, ``is_dataclass``) accept it, too.
    """

    if TYPE_CHECKING:
        __dataclass_fields__: ClassVar["dict[str, Field[Any]]"]
    else:
        __dataclass_fields__ = _DataclassFields()


class Condition:
    """What a context must meet: one of the six classes below."""

    __slots__ = ()


class Comparison(Value, Condition, frozen=True):
    """Compares an attribute, ``{"attribute": "plan", "operator": "in", "value": ["pro"]}``.

    Attributes:
        attribute: ``targetingKey`` or an attribute's dotted path.
        operator: one of ``tidegate.evaluation.operators``.
        value: a scalar or a tuple of scalars, as the operator needs.
    """

    attribute: str
    operator: str
    value: Scalar | tuple[Scalar, ...] = None


class InSegment(Value, Condition, frozen=True):
    """The context is in a segment, ``{"segment": "staff"}``."""

    segment: str


class InKeySet(Value, Condition, frozen=True):
    """The targeting key is in a key set, ``{"key_set": "3f…", "salt": "9a…", "count": 250000}``.

    Only the server makes these conditions, of the keys that were uploaded to a segment.

    Attributes:
        key_set: the key set's digest, which is its name (``tidegate.evaluation.key_sets``).
        salt: what its keys are hashed with.
        count: how many keys it has.
    """

    key_set: str
    salt: str
    count: int


class All(Value, Condition, frozen=True):
    """Every condition holds, ``{"all": [...]}``; an empty list holds for everyone."""

    all: tuple[Condition, ...]


class AnyOf(Value, Condition, frozen=True):
    """At least one condition holds, ``{"any": [...]}``; an empty list holds for nobody."""

    any: tuple[Condition, ...]


class NoneOf(Value, Condition, frozen=True):
    """No condition holds, ``{"none": [...]}``; an empty list holds for everyone."""

    none: tuple[Condition, ...]


def nested_conditions(condition: Condition) -> Iterator[Condition]:
    """Yield a condition and all conditions inside it, in their order."""
    yield condition
    if isinstance(condition, All):
        parts = condition.all
    elif isinstance(condition, AnyOf):
        parts = condition.any
    elif isinstance(condition, NoneOf):
        parts = condition.none
    else:
        return
    for part in parts:
        yield from nested_conditions(part)


class Variant(Value, frozen=True):
    """A named value of a flag; with the value None the caller's default is used."""

    key: str
    value: Json


class WeightedVariant(Value, frozen=True):
    """A variant's share of a split; ``weight`` is a percentage with at most three decimals."""

    variant: str
    weight: float


class Serve(Value, frozen=True):
    """What a rule serves: either a ``variant`` or a ``split`` whose weights sum to 100."""

    variant: str | None = None
    split: tuple[WeightedVariant, ...] = ()


class Rule(Value, frozen=True):
    """Contexts that meet ``when`` get ``serve``. The ``id`` is unique in its flag."""

    id: str
    when: Condition
    serve: Serve


class Prerequisite(Value, frozen=True):
    """Another flag that must serve one of ``variants``; else this flag serves its off variant."""

    flag: str
    variants: tuple[str, ...]


class Opening(Value, frozen=True):
    """What one stage of a release opened.

    Attributes:
        stage: the stage's number, from 1; it names the stratum.
        percentage: contexts whose bucket is below it get the treatment.
        segments: only contexts in one of these; empty: everyone.
    """

    stage: int
    percentage: float
    segments: tuple[str, ...] = ()


class Tolerance(Value, frozen=True):
    """How much more the treatment may fail: ``p_t <= (1 + relative) * p_c + absolute``."""

    relative: float = 0.05
    absolute: float = 0.0


class ActiveRelease(Value, frozen=True):
    """A release in progress.

    A context belongs to the matching opening with the highest percentage, the first listed of
    equals. A context that no opening matches gets the control and is not counted.

    Attributes:
        id: the release's id.
        control: the variant of the control.
        treatment: the variant of the treatment.
        salt: the salt of the buckets.
        stage: the number of the present stage.
        step: grows by one whenever ``openings`` change or the evidence restarts.
        openings: those of all stages so far, since earlier ones stay open.
        report_interval: seconds between reports.
        rule: the rule whose serve it replaces; None: the default rule.
        measures: the values whose distribution is reported: ``latency``, and names given to
            ``Operation.measure``.
        local_breaker: the tolerance beyond which an instance that cannot reach the server
            closes the release for itself; None: it never does.
    """

    id: str
    control: str
    treatment: str
    salt: str
    stage: int
    step: int
    openings: tuple[Opening, ...]
    report_interval: float
    rule: str | None = None
    measures: tuple[str, ...] = ()
    local_breaker: Tolerance | None = None


class Flag(Value, frozen=True):
    """A flag in one environment.

    Attributes:
        killed: the variant that is served while the flag is killed.
        client_side: whether clients with a client token may evaluate it.
        metadata: what its author wrote; evaluations carry it beside what Tidegate adds.
    """

    key: str
    type: FlagType
    version: int
    salt: str
    variants: tuple[Variant, ...]
    enabled: bool
    off_variant: str
    default: Serve
    rules: tuple[Rule, ...] = ()
    prerequisites: tuple[Prerequisite, ...] = ()
    killed: str | None = None
    release: ActiveRelease | None = None
    client_side: bool = False
    metadata: Mapping[str, bool | int | float | str] = msgspec.field(default_factory=dict)


class Segment(Value, frozen=True):
    """A named set of contexts.

    Keys in ``excluded`` are not in it; else keys in ``included`` are; else ``when`` decides
    (None: nobody else).
    """

    key: str
    when: Condition | None = None
    included: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()


class Snapshot(Value, frozen=True):
    """The whole configuration of one environment at one version.

    ``incarnation`` tells the versions of a restored store from those before.
    """

    project: str
    environment: str
    version: int
    flags: Mapping[str, Flag] = msgspec.field(default_factory=dict)
    segments: Mapping[str, Segment] = msgspec.field(default_factory=dict)
    schema: int = SCHEMA_VERSION
    incarnation: str = ""


class Update(Value, frozen=True):
    """What one change did to an environment; None means removed."""

    version: int
    flags: Mapping[str, Flag | None] = msgspec.field(default_factory=dict)
    segments: Mapping[str, Segment | None] = msgspec.field(default_factory=dict)
