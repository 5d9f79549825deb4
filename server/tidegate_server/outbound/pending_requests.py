"""Rounds of questions to others, one for each release that waits for answers.

The loop never waits for them: it hears which rounds are over, and evaluates those releases.

Threads: the loop's, and whichever put the questions. The lock guards the rounds, and what is
in them.
"""

from __future__ import annotations

import threading
import time
from typing import Generic, Protocol, TypeAlias, TypeVar

Place: TypeAlias = tuple[str, str, str]
"""Project, environment and release."""

KEPT_S = 60.0
"""How long a round is kept; after that its release asks anew."""


class Round(Protocol):
    """Questions on their way.

    Attributes:
        began: when they were put (monotonic).
        told: whether the loop has heard that it is over.
    """

    began: float
    told: bool

    @property
    def over(self) -> bool:
        """Whether every answer is there, or is not waited for any more."""


R = TypeVar("R", bound=Round)


class Rounds(Generic[R]):
    """The rounds of one policy job, with one kind of others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rounds: dict[Place, R] = {}

    @property
    def waits(self) -> bool:
        """Whether some answer is waited for."""
        with self._lock:
            return any(not each.over for each in self._rounds.values())

    def answered(self) -> list[Place]:
        """The releases that can be evaluated since this was last asked."""
        with self._lock:
            old = time.monotonic() - KEPT_S
            for place in [place for place, each in self._rounds.items() if each.began < old]:
                del self._rounds[place]
            new = {
                place: each for place, each in self._rounds.items() if each.over and not each.told
            }
            for each in new.values():
                each.told = True
            return list(new)

    def forget(self, place: Place) -> None:
        """The answers were used, or mean nothing any more; the next evaluation asks anew."""
        with self._lock:
            self._rounds.pop(place, None)

    def forget_project(self, project: str) -> None:
        """Another process leads the project, and asks for itself."""
        with self._lock:
            for place in [place for place in self._rounds if place[0] == project]:
                del self._rounds[place]
