"""Forecast a release within a request, in a process of its own.

A forecast depends on the release and its last evaluation only, so the process keeps the latest
ones: a page that asks again before the next evaluation gets the same one at once.
"""

from __future__ import annotations

import time
from collections import OrderedDict
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

TIME_LIMIT_SECONDS = 5.0
"""How long the rehearsals may take; they look less far ahead if it is not enough."""

KEPT = 256

_Key = tuple[str, str, str, int, int]

_kept: OrderedDict[_Key, ReleaseForecast] = OrderedDict()
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
    key = (project, environment, id, stored.revision, known.revision)
    if key in _kept:
        _kept.move_to_end(key)
        return _kept[key]
    progress: Progress = follow_release(known.document, release)
    deadline = time.monotonic() + TIME_LIMIT_SECONDS
    made = forecast_release(
        release,
        progress,
        partial(random_generator, 0, f"{id} {known.revision}"),
        is_over=lambda: time.monotonic() >= deadline,
    )
    _kept[key] = made
    while len(_kept) > KEPT:
        _kept.popitem(last=False)
    return made
