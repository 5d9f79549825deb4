"""What remote evaluations and outcomes count for releases.

A bulk evaluation returns every flag, and a page that reloads evaluates again. So a user is
counted once per release and step within ``WINDOW_SECONDS``. Decisions rest on outcomes; an
exposure without an outcome is no evidence.
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
MAX_REMEMBERED = 50_000
"""How many exposures of users are remembered; beyond it, the oldest may be counted again."""

MAX_OUTCOMES = 20
"""How often the outcomes of a user count for a release and step within ``WINDOW_SECONDS``.

One person with a page's token is one person, however fast a script of theirs reports.
"""

UserExposure = tuple[str, str, int]
"""The hash of a user, the id of a release, and its step."""


class ExposureCounts:
    """The counts of one environment in this process, from one source.

    Threads: ``_lock`` guards the recent exposures and outcomes; it is held for dictionary work
    only.
    """

    def __init__(self) -> None:
        self.reporter = Reporter()
        self.used = False
        """Whether anything was ever counted."""
        self.asked_for_all = False
        """Whether all flags were evaluated at once since the last report."""
        self._lock = threading.Lock()
        self._recent: OrderedDict[UserExposure, float] = OrderedDict()
        self._outcomes: OrderedDict[UserExposure, tuple[float, int]] = OrderedDict()

    def count_evaluations(self, evaluations: Iterable[Evaluation], key: str | None) -> None:
        """Count the exposures of evaluations, those of the last ``WINDOW_SECONDS`` excepted.

        Args:
            evaluations: evaluations of flags under release.
            key: the targeting key; without one, every evaluation counts.
        """
        exposures = exposures_by_release(evaluations)
        new = exposures if key is None else self._new(exposures, key, time.monotonic())
        if new:
            self.used = True
            self.reporter.add(new.values(), None, None, key)

    def count_request(self, key: str, variant: str | None, *, known: bool) -> None:
        """Count that one flag was asked for.

        Args:
            key: its key.
            variant: what it served; None: the application gets its own default.
            known: whether there is such a flag.
        """
        self.used = True
        self.reporter.evaluations.count(key, variant, known=known)

    def count_outcome(
        self,
        exposures: dict[str, Exposure],
        outcome: str,
        microseconds: int | None,
        key: str,
        values: Mapping[str, float],
    ) -> None:
        """Count the outcome of an operation.

        Args:
            exposures: the exposures of the operation, by release.
            outcome: ``ok`` or ``error``.
            microseconds: the duration; None if unknown.
            key: the targeting key.
            values: measured values, by name.
        """
        self.used = True
        self.reporter.add(
            exposures.values(), outcome, microseconds, key, exposed=False, measured=values
        )

    def within_bounds(self, exposures: dict[str, Exposure], key: str) -> dict[str, Exposure]:
        """Return the exposures for which another outcome of a user counts."""
        user, now = user_hash(key), time.monotonic()
        within = {}
        with self._lock:
            for release, exposure in exposures.items():
                place = (user, release, exposure.step)
                began, number = self._outcomes.get(place, (now, 0))
                if now - began >= WINDOW_SECONDS:
                    began, number = now, 0
                if number < MAX_OUTCOMES:
                    within[release] = exposure
                    self._outcomes[place] = began, number + 1
            while len(self._outcomes) > MAX_REMEMBERED:
                self._outcomes.popitem(last=False)
        return within

    def _new(self, exposures: dict[str, Exposure], key: str, now: float) -> dict[str, Exposure]:
        new = {}
        user = user_hash(key)  # bounded memory, however long the key is
        with self._lock:
            for release, exposure in exposures.items():
                recent = (user, release, exposure.step)
                counted_at = self._recent.get(recent)
                if counted_at is not None and now - counted_at < WINDOW_SECONDS:
                    continue
                self._recent[recent] = now
                self._recent.move_to_end(recent)
                new[release] = exposure
            while len(self._recent) > MAX_REMEMBERED:
                self._recent.popitem(last=False)
        return new


def exposures_by_release(evaluations: Iterable[Evaluation]) -> dict[str, Exposure]:
    """Return the exposures of evaluations, by release; the first one if there are several."""
    exposures: dict[str, Exposure] = {}
    for evaluation in evaluations:
        for exposure in evaluation.exposures:
            exposures.setdefault(exposure.release, exposure)
    return exposures
