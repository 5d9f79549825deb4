"""The decisions to change nothing, in a few lines: runs with the same reason as one.

A release is held hundreds of times with the same reason and other numbers. Two reasons are the
same if they differ in numbers only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from tidegate_server.decisions.decision import Action
from tidegate_server.domain.release import State

_NUMBER = re.compile(r"\d[\d.,]*")


@dataclass(frozen=True, slots=True)
class HoldDecision:
    """One decision of a ledger, as far as its run needs it.

    ``evidence`` and ``advance`` are None where nothing was compared with control.
    """

    at_ms: int
    stage: int
    step: int
    action: Action
    state: State
    reason: str
    evidence: float | None
    advance: float | None


@dataclass(frozen=True, slots=True)
class Span:
    """The least and the greatest value of a number in a run; None: it had none."""

    least: float | None = None
    greatest: float | None = None

    def including(self, value: float | None) -> Span:
        """Return the span with another value in it."""
        if value is None:
            return self
        if self.least is None or self.greatest is None:
            return Span(value, value)
        return Span(min(self.least, value), max(self.greatest, value))


@dataclass(frozen=True, slots=True)
class Hold:
    """A run of decisions to change nothing, for the same reason.

    Attributes:
        from_ms, to_ms: the first and the last of them.
        decisions: how many there were.
        stage, step, state: of the release after them.
        first_reason, last_reason: the reason with its first and with its last numbers.
        evidence, advance: E and A in the run.
    """

    from_ms: int
    to_ms: int
    decisions: int
    stage: int
    step: int
    state: State
    first_reason: str
    last_reason: str
    evidence: Span
    advance: Span


def condense_holds(decisions: Iterable[HoldDecision]) -> list[Hold]:
    """Return the runs of holds among the decisions of a release, which come the earliest first.

    Any other decision ends a run, and so does another step or state.
    """
    holds: list[Hold] = []
    last: tuple[object, ...] | None = None
    for each in decisions:
        if each.action is not Action.HOLD:
            last = None
            continue
        kind = (each.step, each.state, _NUMBER.sub("#", each.reason))
        if kind != last:
            holds.append(
                Hold(
                    each.at_ms,
                    each.at_ms,
                    0,
                    each.stage,
                    each.step,
                    each.state,
                    each.reason,
                    each.reason,
                    Span(),
                    Span(),
                )
            )
        last, run = kind, holds[-1]
        holds[-1] = replace(
            run,
            to_ms=each.at_ms,
            decisions=run.decisions + 1,
            last_reason=each.reason,
            evidence=run.evidence.including(each.evidence),
            advance=run.advance.including(each.advance),
        )
    return holds
