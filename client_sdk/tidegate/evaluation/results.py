"""What an evaluation returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

from tidegate.context import Context

Arm: TypeAlias = Literal["control", "treatment"]

NO_METADATA: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Exposure:
    """The arm of a release that an evaluation served, as reports name it.

    Attributes:
        release: the release's id.
        step: the release's step.
        stratum: the stage whose opening the context belongs to.
        arm: control or treatment.
        measures: the measures whose distribution the release needs.
        hash_prefix: what the targeting key was hashed with, before it, to choose the arm; None:
            everyone here gets the same arm.
    """

    release: str
    step: int
    stratum: int
    arm: Arm
    measures: tuple[str, ...] = ()
    hash_prefix: str | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The result of evaluating one flag for one context, in OpenFeature's terms.

    Attributes:
        value: the variant's value. None means: use the caller's default, because of an error
            or because the variant has no value.
        variant: the variant's key; None on an error.
        reason: OpenFeature's reason.
        error_code: OpenFeature's error code; None on success.
        error_message: what is wrong and how to fix it.
        metadata: flag metadata; read-only.
        exposures: the releases that decided this result, prerequisites' releases included.
        release: the id of the release in ``exposures`` if there is exactly one.
        converted: a cache for an integration: this result as another library's type.
    """

    value: Any
    variant: str | None
    reason: str
    error_code: str | None = None
    error_message: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=lambda: NO_METADATA)
    exposures: tuple[Exposure, ...] = ()
    release: str | None = field(init=False, repr=False, compare=False)
    converted: Any = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        release = self.exposures[0].release if len(self.exposures) == 1 else None
        object.__setattr__(self, "release", release)


Evaluate: TypeAlias = Callable[[Context], Evaluation]


def failed_evaluation(code: str, message: str) -> Evaluation:
    """Return the evaluation that reports an error."""
    return Evaluation(None, None, "ERROR", code, message)


TARGETING_KEY_MISSING: Final = failed_evaluation(
    "TARGETING_KEY_MISSING",
    "a percentage needs a targeting key, as a string; give the context one",
)
