"""Forecast a release within a request, in a process of its own.

A forecast changes little from one evaluation to the next within a stage. So it is kept for twenty
times as long as it took to make: a page that stays open costs a twentieth of a core at most.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial

from tidegate_server.admin.document_reader import read_document
from tidegate_server.decisions.progress import Progress
from tidegate_server.decisions.update_statistics import follow_release
from tidegate_server.domain.change import Address, Kind
from tidegate_server.domain.project_documents import progress_address
from tidegate_server.domain.release import Release
from tidegate_server.random_seeds import random_generator
from tidegate_server.store import Store
from tidegate_server.whatif.release_forecast import ReleaseForecast, forecast_release

TIME_LIMIT_SECONDS = 2.0
"""How long the rehearsals may take; they look less far ahead if it is not enough."""

KEPT = 256
KEPT_TIMES = 20
"""For how many times the time it took to make is a forecast kept."""

_Key = tuple[str, str, str, int]


@dataclass(frozen=True, slots=True)
class _Kept:
    """A forecast; ``evaluation`` it was made after, and ``until`` when it serves later ones.

    ``evaluation`` is None if there was no time for it: then the next one may find more.
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
    began = time.monotonic()
    kept = _kept.get(key)
    if kept is not None and (kept.evaluation == known.revision or began < kept.until):
        _kept.move_to_end(key)
        return kept.forecast
    progress: Progress = follow_release(known.document, release)
    deadline = began + TIME_LIMIT_SECONDS
    made = forecast_release(
        release,
        progress,
        partial(random_generator, 0, f"{id} {known.revision}"),
        is_over=lambda: time.monotonic() >= deadline,
    )
    ended = time.monotonic()
    evaluation = known.revision if made.rehearsals else None
    _kept[key] = _Kept(made, evaluation, ended + KEPT_TIMES * (ended - began))
    while len(_kept) > KEPT:
        _kept.popitem(last=False)
    return made
