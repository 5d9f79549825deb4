"""Forecast a release within a request, in a process of its own.

A forecast changes little from one evaluation to the next within a stage. So it is kept for twenty
times as long as a core worked on it: a page that stays open costs a twentieth of a core at most.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial

from tidegate_server.admin.document_reader import read_document
from tidegate_server.decisions.progress import Progress
from tidegate_server.decisions.update_statistics import follow_release
from tidegate_server.domain.change import Address
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.project_documents import progress_address
from tidegate_server.domain.release import Release
from tidegate_server.random_seeds import random_generator
from tidegate_server.store import Store
from tidegate_server.whatif.release_forecast import (
    HORIZON_MS,
    ReleaseForecast,
    forecast_release,
)

CPU_LIMIT_SECONDS = 2.0
"""How long a core may work on the rehearsals; they look less far ahead if it is not enough.

Serving requests comes first, so that on a busy machine this takes a while.
"""

TIME_LIMIT_SECONDS = 8.0
"""How long the rehearsals may take, whatever they got of a core."""

KEPT = 256
KEPT_TIMES = 20
"""For how many times the time that a core worked on it is a forecast kept."""

_Key = tuple[str, str, str, int]


@dataclass(frozen=True, slots=True)
class _Kept:
    """A forecast; ``evaluation`` it was made after, and ``until`` when it serves later ones.

    ``evaluation`` is None if it was cut short: then the next one may look farther.
    """

    forecast: ReleaseForecast
    evaluation: int | None
    until: float


_kept: OrderedDict[_Key, _Kept] = OrderedDict()
"""The latest forecasts of this process, which computes one at a time."""


def forecast(store: Store, project: str, environment: str, id: str) -> ReleaseForecast:
    """Return the forecast of a release.

    Raises:
        NotFound: there is no such release.
    """
    stored = read_document(store, project, Address(Kind.RELEASE, id, environment))
    release: Release = stored.document
    known = store.get(project, progress_address(environment, id))
    if known is None:
        now_ms = store.now_ms()
        return ReleaseForecast(now_ms, now_ms, reason="the release has not been evaluated yet")
    key = (project, environment, id, stored.revision)
    began, worked = time.monotonic(), time.thread_time()
    kept = _kept.get(key)
    if kept is not None and (kept.evaluation == known.revision or began < kept.until):
        _kept.move_to_end(key)
        return kept.forecast
    progress: Progress = follow_release(known.document, release)

    def is_over() -> bool:
        return (
            time.thread_time() - worked >= CPU_LIMIT_SECONDS
            or time.monotonic() - began >= TIME_LIMIT_SECONDS
        )

    made = forecast_release(
        release,
        progress,
        partial(random_generator, 0, f"{id} {known.revision}"),
        is_over=is_over,
    )
    cut_short = bool(made.rehearsals) and made.until_ms < made.made_ms + HORIZON_MS
    kept_seconds = KEPT_TIMES * (time.thread_time() - worked)
    evaluation = None if cut_short else known.revision
    _kept[key] = _Kept(made, evaluation, time.monotonic() + kept_seconds)
    while len(_kept) > KEPT:
        _kept.popitem(last=False)
    return made
