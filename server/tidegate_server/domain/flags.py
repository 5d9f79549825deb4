"""What a flag is: its definition in a project, its targeting in an environment."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.model import Condition, FlagType, Prerequisite, Rule, Serve, Variant


@dataclass(frozen=True, slots=True)
class FlagDefinition:
    """What a flag is in every environment of its project.

    ``salt`` seeds bucketing and never changes; it is the flag's key unless imported. A flag
    that is ``client_side`` may be asked with client tokens, which anyone can read out of a
    page or an app.
    """

    key: str
    type: FlagType
    variants: tuple[Variant, ...]
    salt: str
    name: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    client_side: bool = False


@dataclass(frozen=True, slots=True)
class Kill:
    """A kill in force: who, why, when (ms since the epoch, store clock)."""

    actor: str
    reason: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Targeting:
    """A flag in one environment.

    ``kill_variant`` is what a kill serves (None: the off variant). ``release`` is the id
    of the active release, of which there is at most one.
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


@dataclass(frozen=True, slots=True)
class SegmentDefinition:
    """A segment with what people read about it; ``tidegate.model.Segment`` is its wire form."""

    key: str
    when: Condition | None = None
    included: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    name: str = ""
    description: str = ""
