"""Flags, segments and releases as a snapshot holds them.

Frozen values only. Field names are the wire's names (``docs/wire/``), so a
value written as JSON field by field is the wire form. Parsing lives in
``tidegate.wire``, meaning in ``tidegate.evaluation.rule_set``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

SCHEMA_VERSION = 1
"""The snapshot schema this SDK understands; a newer one is refused."""

Json: TypeAlias = Any
"""A JSON value; a recursive alias would stop generic decoders."""

FlagType: TypeAlias = Literal["boolean", "string", "number", "object"]
Scalar: TypeAlias = bool | int | float | str | None

FLAG_TYPES: tuple[FlagType, ...] = ("boolean", "string", "number", "object")


class Condition:
    """What a context must satisfy: one of the five classes below."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Comparison(Condition):
    """An attribute compared by an operator, ``{"attribute": "plan", "operator": "in", ...}``.

    ``attribute`` is ``targetingKey`` or an attribute's dotted path. ``value`` is what
    the operator in ``tidegate.evaluation.operators`` asks for: a scalar, or a tuple of scalars.
    """

    attribute: str
    operator: str
    value: Scalar | tuple[Scalar, ...] = None


@dataclass(frozen=True, slots=True)
class InSegment(Condition):
    """The context belongs to a segment, ``{"segment": "staff"}``."""

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
    """Negation: no condition holds, ``{"none": [...]}``."""

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
    """A named value of a flag; None: whoever asks uses the default given with the question."""

    key: str
    value: Json


@dataclass(frozen=True, slots=True)
class WeightedVariant:
    """A variant's part of a split; ``weight`` in percent, at most three decimals."""

    variant: str
    weight: float


@dataclass(frozen=True, slots=True)
class Serve:
    """What a rule gives: either one ``variant`` or a ``split`` whose weights sum to 100."""

    variant: str | None = None
    split: tuple[WeightedVariant, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """Contexts that satisfy ``when`` get ``serve``. The ``id`` is unique in its flag."""

    id: str
    when: Condition
    serve: Serve


@dataclass(frozen=True, slots=True)
class Prerequisite:
    """Another flag must evaluate to one of ``variants``, else the off variant is served."""

    flag: str
    variants: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Opening:
    """Whom one stage of a release has opened.

    ``stage`` is the stage's number from 1 and names the stratum. Contexts in any of
    ``segments`` (everyone, when empty) whose bucket is below ``percentage`` are open.
    """

    stage: int
    percentage: float
    segments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How much worse the treatment may be: ``p_t <= (1 + relative) * p_c + absolute``."""

    relative: float = 0.1
    absolute: float = 0.0


@dataclass(frozen=True, slots=True)
class ActiveRelease:
    """A release in progress: it replaces what ``rule`` (the default rule: None) serves.

    ``openings`` are those of all stages so far, since earlier ones stay open. A context
    belongs to the matching opening with the highest percentage, the first listed of
    equals (its stratum); a context that matches none gets ``control`` and is no evidence.
    ``step`` rises by one whenever ``openings`` change or evidence starts afresh: it is
    the stage id of reports. ``report_interval`` is in seconds. ``measures`` name the
    values whose distribution is reported: ``latency``, and names given to
    ``Operation.measure``. ``local_breaker`` lets an instance that cannot reach the server close
    the release for itself, when its treatment fails far beyond what is tolerated; None: it may not.
    """

    id: str
    rule: str | None
    control: str
    treatment: str
    salt: str
    stage: int
    step: int
    openings: tuple[Opening, ...]
    report_interval: float
    measures: tuple[str, ...] = ()
    local_breaker: Tolerance | None = None


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag in one environment.

    ``killed`` names the variant that a kill serves. ``client_side``: whoever asks with a
    client token may know how it evaluates.
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


@dataclass(frozen=True, slots=True)
class Segment:
    """A named set of contexts: ``excluded`` keys are out, then ``included`` keys are in,
    then ``when`` decides (None: nobody else)."""

    key: str
    when: Condition | None = None
    included: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One environment's whole configuration at one version."""

    project: str
    environment: str
    version: int
    flags: Mapping[str, Flag] = field(default_factory=dict)
    segments: Mapping[str, Segment] = field(default_factory=dict)
    schema: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class Update:
    """What one committed change did to an environment; None stands for a removal."""

    version: int
    flags: Mapping[str, Flag | None] = field(default_factory=dict)
    segments: Mapping[str, Segment | None] = field(default_factory=dict)
