"""Flags: the definition in a project, and the targeting in an environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from tidegate.model import Condition, FlagType, Json, Prerequisite, Rule, Serve, Variant

MAX_TAG_LENGTH = 100
"""In characters."""


@dataclass(frozen=True, slots=True)
class Archived:
    """Who archived a flag, why, and when (milliseconds since the epoch, the store's time)."""

    actor: str
    reason: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class FlagDefinition:
    """A flag, the same in every environment of its project.

    ``salt`` seeds the buckets and never changes; it is the flag's key unless the flag was
    imported. ``owner`` is a person or a team, ``description`` is Markdown. A ``temporary`` flag
    is to be removed from the code one day, and ``expected_end`` is the day by which. Client
    tokens can evaluate only flags that are ``client_side``, because anyone can read such a token
    out of a page or an app. Every evaluation carries ``metadata``. No snapshot has a flag that is
    ``archived``; its documents stay.
    """

    key: str
    type: FlagType
    variants: tuple[Variant, ...]
    salt: str
    name: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    client_side: bool = False
    metadata: Mapping[str, bool | int | float | str] = field(default_factory=dict)
    owner: str = ""
    temporary: bool = False
    expected_end: date | None = None
    archived: Archived | None = None


def variant_values(definition: FlagDefinition) -> dict[str, Json]:
    """Return the values of a flag's variants."""
    return {variant.key: variant.value for variant in definition.variants}


@dataclass(frozen=True, slots=True)
class Kill:
    """A kill in force: who, why, and when (milliseconds since the epoch, the store's time).

    ``url`` links to the incident; empty: nobody gave a link. ``tag`` is the tag whose flags were
    all killed at once; empty: the flag was killed by itself.
    """

    actor: str
    reason: str
    at_ms: int
    url: str = ""
    tag: str = ""


@dataclass(frozen=True, slots=True)
class Disabled:
    """Who disabled a flag, why, and when (milliseconds since the epoch, the store's time)."""

    actor: str
    reason: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Targeting:
    """A flag in one environment.

    ``kill_variant`` is what a kill serves (None: the off variant). ``release`` is the id of
    the active release; there is at most one. ``disabled`` says who disabled it (None: it is
    enabled, or an earlier version disabled it).
    """

    flag: str
    enabled: bool
    off_variant: str
    default: Serve
    rules: tuple[Rule, ...] = ()
    prerequisites: tuple[Prerequisite, ...] = ()
    kill_variant: str | None = None
    kill: Kill | None = None
    release: str | None = None
    disabled: Disabled | None = None


MAX_UPLOADED_KEYS = 1_000_000
"""Uploaded keys of one list of a segment. Each takes 8 bytes in every SDK of the project."""

MAX_PROJECT_KEYS = 5_000_000
"""Uploaded keys of all segments of a project."""


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys that were uploaded to one list of a segment; only their hashes are kept.

    Attributes:
        digest: names the key set (``tidegate.evaluation.key_sets``).
        salt: what the keys are hashed with; it stays the same for all key sets of a list.
        count: how many keys there are.
    """

    digest: str
    salt: str
    count: int


@dataclass(frozen=True, slots=True)
class SegmentDefinition:
    """A segment with its name and description; snapshots contain ``tidegate.model.Segment``.

    ``included_set`` and ``excluded_set`` are the uploaded keys that belong to it, and that do not,
    like those that are listed in ``included`` and ``excluded``.
    """

    key: str
    when: Condition | None = None
    included: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    name: str = ""
    description: str = ""
    included_set: KeySet | None = None
    excluded_set: KeySet | None = None
