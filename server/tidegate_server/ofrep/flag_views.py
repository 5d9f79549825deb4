"""What one audience may know of a snapshot: its flags, and their evaluations as JSON.

``tidegate.evaluation`` compiles every evaluation of a flag in advance. So each is encoded as
JSON once, and found again by the identity of its metadata, which is unique to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from tidegate.context import Context
from tidegate.evaluation.compiled_snapshot import CompiledSnapshot
from tidegate.evaluation.flag_compiler import CompiledFlag
from tidegate.evaluation.results import Evaluation

from tidegate_server.ofrep.response_bodies import failure_body, success_body

RULE = "ruleId"
UNREADABLE = "PARSE_ERROR"

MAX_ENCODED = 10_000
"""How many evaluations of one flag are kept as JSON."""


class Audience(Enum):
    """Who evaluates: applications may know every flag; clients are public."""

    APPLICATIONS = "applications"
    CLIENTS = "clients"


class VisibleFlag:
    """A flag that an audience may evaluate.

    Args:
        flag: the compiled flag.
        audience: who evaluates it.
    """

    __slots__ = ("_audience", "_encoded", "flag")

    def __init__(self, flag: CompiledFlag, audience: Audience) -> None:
        self.flag = flag
        self._audience = audience
        self._encoded: dict[int, tuple[Mapping[str, Any], bytes]] = {}

    def evaluate(self, context: Context) -> tuple[Evaluation, bytes]:
        """Return the evaluation for a context, and its response body."""
        evaluation = self.flag.evaluate(context)
        if evaluation.error_code is not None:
            details = self._error_details(evaluation)
            return evaluation, failure_body(self.flag.key, evaluation.error_code, details)
        encoded = self._encoded.get(id(evaluation.metadata))
        if encoded is None:
            if len(self._encoded) >= MAX_ENCODED:
                self._encoded.clear()
            body = success_body(self.flag.key, evaluation, self._metadata(evaluation))
            # The metadata is kept too: while it is alive, no other object has its identity.
            encoded = evaluation.metadata, body
            self._encoded[id(evaluation.metadata)] = encoded
        return evaluation, encoded[1]

    def _metadata(self, evaluation: Evaluation) -> dict[str, Any]:
        metadata = dict(evaluation.metadata)
        if self._audience is Audience.CLIENTS:
            metadata.pop(RULE, None)
        return metadata

    def _error_details(self, evaluation: Evaluation) -> str:
        if self._audience is Audience.CLIENTS and evaluation.error_code == UNREADABLE:
            return "the flag cannot be read"  # the reason would reveal its configuration
        return evaluation.error_message or ""


class FlagView:
    """A compiled snapshot as an audience may know it; never changed, only replaced.

    Args:
        compiled: the snapshot.
        audience: who evaluates.
        before: the view that this one replaces; flags that did not change are reused.
    """

    __slots__ = ("audience", "compiled", "etags", "flags")

    def __init__(
        self, compiled: CompiledSnapshot, audience: Audience, before: FlagView | None = None
    ) -> None:
        self.compiled = compiled
        self.audience = audience
        old_flags = {} if before is None else before.flags
        self.flags: dict[str, VisibleFlag] = {}
        for key, flag in _visible_flags(compiled, audience):
            old = old_flags.get(key)
            reusable = old is not None and old.flag is flag
            self.flags[key] = old if old is not None and reusable else VisibleFlag(flag, audience)
        self.etags: dict[bytes, str] = {}
        """ETags of bulk evaluations by request: see ``evaluations``."""

    def differs(self, other: FlagView) -> bool:
        """Return whether this audience could notice the change from one view to the other."""
        if self.flags.keys() != other.flags.keys():
            return True
        return any(each.flag is not other.flags[key].flag for key, each in self.flags.items())


def _visible_flags(
    compiled: CompiledSnapshot, audience: Audience
) -> Iterator[tuple[str, CompiledFlag]]:
    # Clients may not know of an unreadable flag.
    visible = compiled.flags.documents.client_side
    for key in sorted(compiled.flags):
        if audience is Audience.APPLICATIONS or key in visible:
            yield key, compiled.flags[key]
