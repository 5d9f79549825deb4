"""What evaluations and outcomes through the API count for releases.

A bulk evaluation gives a page every flag that it may ask, and a page that is loaded again asks
again: a user counts once per release and step within ``WINDOW_SECONDS``. What counts for the
decision are outcomes; an exposure without one is no evidence.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping

from tidegate.bucketing import user_hash
from tidegate.evaluation.results import Evaluation, Exposure
from tidegate.reporting import Reporter

WINDOW_SECONDS = 60.0
ROOM = 50_000
"""How many users' exposures are remembered; beyond, the oldest may count once more."""

Seen = tuple[str, str, int]


class Exposures:
    """The counts of one environment in this process, and whom they have met lately.

    Threads: ``_lock`` guards what was seen; it is held for dictionary work only.
    """

    def __init__(self) -> None:
        self.reporter = Reporter()
        self._lock = threading.Lock()
        self._seen: OrderedDict[Seen, float] = OrderedDict()

    def evaluated(self, answers: Iterable[Evaluation], key: str | None) -> None:
        """Count what somebody was given.

        Args:
            answers: evaluations that took part in releases.
            key: the targeting key for which they were made.
        """
        met = exposures_of(answers)
        new = met if key is None else self._new(met, key, time.monotonic())
        if new:
            self.reporter.add(new, None, 0, key)

    def ended(
        self,
        met: dict[str, Exposure],
        outcome: str,
        microseconds: int | None,
        key: str,
        values: Mapping[str, float],
    ) -> None:
        """Count how a unit of work ended.

        Args:
            met: what it was exposed to, by release.
            outcome: ``ok`` or ``error``.
            microseconds: how long it took; None when nobody said.
            key: whose it was.
            values: what was measured in it, by name.
        """
        self.reporter.add(met, outcome, microseconds, key, exposed=False, measured=values)

    def _new(self, met: dict[str, Exposure], key: str, now: float) -> dict[str, Exposure]:
        new = {}
        user = user_hash(key)  # of a fixed size, whatever somebody sends
        with self._lock:
            for release, exposure in met.items():
                seen = (user, release, exposure.step)
                at = self._seen.get(seen)
                if at is not None and now - at < WINDOW_SECONDS:
                    continue
                self._seen[seen] = now
                self._seen.move_to_end(seen)
                new[release] = exposure
            while len(self._seen) > ROOM:
                self._seen.popitem(last=False)
        return new


def exposures_of(answers: Iterable[Evaluation]) -> dict[str, Exposure]:
    """The exposures of several evaluations, by release; of a release's arms the first one."""
    met: dict[str, Exposure] = {}
    for answer in answers:
        for exposure in answer.exposures:
            met.setdefault(exposure.release, exposure)
    return met
