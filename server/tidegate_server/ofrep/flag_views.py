"""What one audience may know of a snapshot: its flags, and their answers as JSON.

A flag's answers are made ahead by ``tidegate.evaluation``, so each is written as JSON once and
found again by the identity of its metadata, which no two answers share.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

import msgspec
from tidegate.context import Context
from tidegate.evaluation.flag_compiler import CompiledFlag
from tidegate.evaluation.results import Evaluation
from tidegate.evaluation.rule_set import CompiledSnapshot

RULE = "ruleId"
UNREADABLE = "PARSE_ERROR"

MOST_ANSWERS = 10_000
"""How many answers of one flag are kept as JSON."""

_encode = msgspec.json.Encoder().encode


class Audience(Enum):
    """Who asks: applications, which may know every flag, or clients, which are public."""

    APPLICATIONS = "applications"
    CLIENTS = "clients"


class ServedFlag:
    """A flag that an audience may ask.

    Args:
        flag: the flag, compiled.
        audience: who asks.
    """

    __slots__ = ("_audience", "_written", "flag")

    def __init__(self, flag: CompiledFlag, audience: Audience) -> None:
        self.flag = flag
        self._audience = audience
        self._written: dict[int, tuple[Mapping[str, Any], bytes]] = {}

    def ask(self, context: Context) -> tuple[Evaluation, bytes]:
        """The answer for a context, and its JSON: a success or a failure of the protocol."""
        answer = self.flag.evaluate(context)
        if answer.error_code is not None:
            return answer, failure(self.flag.key, answer.error_code, self._words(answer))
        known = self._written.get(id(answer.metadata))
        if known is None:
            if len(self._written) >= MOST_ANSWERS:
                self._written.clear()
            # Kept with its metadata: while that is alive nothing else has its identity.
            known = answer.metadata, _encode(self._success(answer))
            self._written[id(answer.metadata)] = known
        return answer, known[1]

    def _success(self, answer: Evaluation) -> Mapping[str, Any]:
        said = {
            "key": self.flag.key,
            "value": answer.value,
            "reason": answer.reason,
            "variant": answer.variant,
            "metadata": self._metadata(answer),
        }
        if answer.value is None:
            del said["value"]  # whoever asks uses the default in their code
        return said

    def _metadata(self, answer: Evaluation) -> dict[str, Any]:
        metadata = dict(answer.metadata)
        if self._audience is Audience.CLIENTS:
            metadata.pop(RULE, None)
        return metadata

    def _words(self, answer: Evaluation) -> str:
        if self._audience is Audience.CLIENTS and answer.error_code == UNREADABLE:
            return "the flag cannot be read"  # why would tell of its configuration
        return answer.error_message or ""


def failure(key: str, code: str, details: str) -> bytes:
    """An evaluation that failed, as JSON."""
    return _encode({"key": key, "errorCode": code, "errorDetails": details})


class View:
    """A compiled snapshot as an audience may know it; never changed, only replaced.

    Args:
        compiled: the snapshot.
        audience: who asks.
        before: the view that this one replaces; what did not change is taken over from it.
    """

    __slots__ = ("audience", "compiled", "etags", "flags")

    def __init__(
        self, compiled: CompiledSnapshot, audience: Audience, before: View | None = None
    ) -> None:
        self.compiled = compiled
        self.audience = audience
        old = {} if before is None else before.flags
        self.flags: dict[str, ServedFlag] = {}
        for key, flag in _visible(compiled, audience):
            served = old.get(key)
            same = served is not None and served.flag is flag
            self.flags[key] = served if served is not None and same else ServedFlag(flag, audience)
        self.etags: dict[bytes, str] = {}
        """ETags of bulk answers by what was asked: see ``evaluations``."""

    def differs(self, other: View) -> bool:
        """Whether this audience could notice that one view has replaced the other."""
        if self.flags.keys() != other.flags.keys():
            return True
        return any(served.flag is not other.flags[key].flag for key, served in self.flags.items())


def _visible(compiled: CompiledSnapshot, audience: Audience) -> Iterator[tuple[str, CompiledFlag]]:
    described = compiled.snapshot.flags
    for key in sorted(compiled.flags):
        # A flag that cannot be read is not described, so clients may not know of it.
        flag = described.get(key)
        if audience is Audience.APPLICATIONS or (flag is not None and flag.client_side):
            yield key, compiled.flags[key]
