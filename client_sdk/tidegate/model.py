"""Flags, segments and releases as a snapshot contains them.

The field names are those of the wire format (``docs/wire/``): a value written as JSON field by
field is the wire form. ``tidegate.wire`` parses it; ``tidegate.evaluation`` evaluates it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

SCHEMA_VERSION = 1
"""The snapshot schema that this SDK reads; it refuses a newer one."""

Json: TypeAlias = Any
"""A JSON value. Generic decoders cannot handle a recursive alias."""

FlagType: TypeAlias = Literal["boolean", "string", "number", "object"]
Scalar: TypeAlias = bool | int | float | str | None

FLAG_TYPES: tuple[FlagType, ...] = ("boolean", "string", "number", "object")


class Condition:
    """What a context must meet: one of the five classes below."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Comparison(Condition):
    """Compares an attribute, ``{"attribute": "plan", "operator": "in", "value": ["pro"]}``.

    Attributes:
        attribute: ``targetingKey`` or an attribute's dotted path.
        operator: one of ``tidegate.evaluation.operators``.
        value: a scalar or a tuple of scalars, as the operator needs.
    """

    attribute: str
    operator: str
    value: Scalar | tuple[Scalar, ...] = None


@dataclass(frozen=True, slots=True)
class InSegment(Condition):
    """The context is in a segment, ``{"segment": "staff"}``."""

    segment: str


@dataclass(frozen=True, slots=True)
class All(Condition):
    """Every condition holds, ``{"all": [...]}``; an empty list holds for everyone."""

    all: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf(Condition):
    """At least one condition holds, ``{"any": [...]}``; an empty list holds for nobody."""

    any: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class NoneOf(Condition):
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


@dataclass(frozen=True, slots=True)
class Variant:
    """A named value of a flag; with the value None the caller's default is used."""

    key: str
    value: Json


@dataclass(frozen=True, slots=True)
class WeightedVariant:
    """A variant's share of a split; ``weight`` is a percentage with at most three decimals."""

    variant: str
    weight: float


@dataclass(frozen=True, slots=True)
class Serve:
    """What a rule serves: either a ``variant`` or a ``split`` whose weights sum to 100."""

    variant: str | None = None
    split: tuple[WeightedVariant, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """Contexts that meet ``when`` get ``serve``. The ``id`` is unique in its flag."""

    id: str
    when: Condition
    serve: Serve


@dataclass(frozen=True, slots=True)
class Prerequisite:
    """Another flag that must serve one of ``variants``; else this flag serves its off variant."""

    flag: str
    variants: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Opening:
    """What one stage of a release opened.

    Attributes:
        stage: the stage's number, from 1; it names the stratum.
        percentage: contexts whose bucket is below it get the treatment.
        segments: only contexts in one of these; empty: everyone.
    """

    stage: int
    percentage: float
    segments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How much more the treatment may fail: ``p_t <= (1 + relative) * p_c + absolute``."""

    relative: float = 0.05
    absolute: float = 0.0


@dataclass(frozen=True, slots=True)
class ActiveRelease:
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


@dataclass(frozen=True, slots=True)
class Flag:
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
    metadata: Mapping[str, bool | int | float | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Segment:
    """A named set of contexts.

    Keys in ``excluded`` are not in it; else keys in ``included`` are; else ``when`` decides
    (None: nobody else).
    """

    key: str
    when: Condition | None = None
    included: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole configuration of one environment at one version."""

    project: str
    environment: str
    version: int
    flags: Mapping[str, Flag] = field(default_factory=dict)
    segments: Mapping[str, Segment] = field(default_factory=dict)
    schema: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class Update:
    """What one change did to an environment; None means removed."""

    version: int
    flags: Mapping[str, Flag | None] = field(default_factory=dict)
    segments: Mapping[str, Segment | None] = field(default_factory=dict)
