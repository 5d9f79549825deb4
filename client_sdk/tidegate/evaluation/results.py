"""What an evaluation returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

import msgspec

from tidegate.context import Context

Arm: TypeAlias = Literal["control", "treatment"]

ARMS: Final[tuple[Arm, Arm]] = ("control", "treatment")

NO_METADATA: Final[Mapping[str, Any]] = MappingProxyType({})


class Exposure(msgspec.Struct, frozen=True):
    """The arm of a release that an evaluation served, as reports name it.

    Attributes:
        release: the release's id.
        step: the release's step.
        stratum: the stage whose opening the context belongs to.
        arm: control or treatment.
        measures: the measures whose distribution the release needs.
        hash_prefix: what the targeting key was hashed with, before it, to choose the arm; None:
            everyone here gets the same arm.
        group: the release, the step and the stratum; set by itself.
        cell: one text for the group and the arm, set by itself; a look-up by it is faster than by a
            tuple.
    """

    release: str
    step: int
    stratum: int
    arm: Arm
    measures: tuple[str, ...] = ()
    hash_prefix: str | None = None
    group: tuple[str, int, int] = ("", 0, 0)
    cell: str = ""

    def __post_init__(self) -> None:
        group = (self.release, self.step, self.stratum)
        msgspec.structs.force_setattr(self, "group", group)
        msgspec.structs.force_setattr(self, "cell", cell_name(group, self.arm))


def cell_name(group: tuple[str, int, int], arm: Arm) -> str:
    """Return ``Exposure.cell`` of a group and an arm."""
    release, step, stratum = group
    return f"{release}|{step}|{stratum}|{arm}"


class Metadata(Mapping[str, Any]):
    """The metadata of one evaluation, read-only; a third of the size of a dictionary.

    Args:
        written: what the flag's author wrote.
        version: the flag's version.
        rule: the id of the rule that decided; None: it was the default rule, or no rule.
        release: the id and the stage of the release in progress; None without one.
        killed: whether the flag is killed.
    """

    __slots__ = ("_killed", "_release", "_rule", "_version", "_written")

    def __init__(
        self,
        written: Mapping[str, Any],
        version: int,
        rule: str | None = None,
        release: tuple[str, int] | None = None,
        *,
        killed: bool = False,
    ) -> None:
        self._written = written
        self._version = version
        self._rule = rule
        self._release = release
        self._killed = killed

    def _entries(self) -> dict[str, Any]:
        entries = {**self._written, "flagVersion": self._version}
        if self._rule is not None:
            entries["ruleId"] = self._rule
        if self._release is not None:
            entries["releaseId"], entries["stage"] = self._release
        if self._killed:
            entries["killed"] = True
        return entries

    def __getitem__(self, name: str) -> Any:
        return self._entries()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries())

    def __len__(self) -> int:
        return len(self._entries())

    def __repr__(self) -> str:
        return repr(self._entries())


class Evaluation(msgspec.Struct, frozen=True, gc=False):
    """The result of evaluating one flag for one context, in OpenFeature's terms.

    Compiling a flag makes several. A ``Struct`` is made in a small part of a dataclass's time. The
    garbage collector need not visit it: nothing that it refers to refers back to it.

    Attributes:
        value: the variant's value. None means: use the caller's default, because of an error
            or because the variant has no value.
        variant: the variant's key; None on an error.
        reason: OpenFeature's reason.
        error_code: OpenFeature's error code; None on success.
        error_message: what is wrong and how to fix it.
        metadata: flag metadata; read-only.
        exposures: the releases that decided this result, prerequisites' releases included.
        exposure: the one in ``exposures`` if there is exactly one.
        converted: a cache for an integration: this result as another library's type.
    """

    value: Any
    variant: str | None
    reason: str
    error_code: str | None = None
    error_message: str | None = None
    metadata: Mapping[str, Any] = NO_METADATA
    exposures: tuple[Exposure, ...] = ()
    exposure: Exposure | None = None
    converted: Any = None

    def __post_init__(self) -> None:
        if len(self.exposures) == 1:
            msgspec.structs.force_setattr(self, "exposure", self.exposures[0])


Evaluate: TypeAlias = Callable[[Context], Evaluation]


def with_exposures(evaluation: Evaluation, exposures: tuple[Exposure, ...]) -> Evaluation:
    """Return the same evaluation with other exposures."""
    return Evaluation(
        evaluation.value,
        evaluation.variant,
        evaluation.reason,
        evaluation.error_code,
        evaluation.error_message,
        evaluation.metadata,
        exposures,
    )


def failed_evaluation(code: str, message: str) -> Evaluation:
    """Return the evaluation that reports an error."""
    return Evaluation(None, None, "ERROR", code, message)


TARGETING_KEY_MISSING: Final = failed_evaluation(
    "TARGETING_KEY_MISSING",
    "a percentage needs a targeting key, as a string; give the context one",
)
