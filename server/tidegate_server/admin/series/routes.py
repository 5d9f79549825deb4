"""The numbers of a release over time, and its forecast, for pictures."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response

from tidegate_server.admin.document_reader import read_document
from tidegate_server.admin.releases.routes import ITEM
from tidegate_server.admin.series.forecasts import forecast
from tidegate_server.admin.series.schemas import ForecastAnswer, SeriesAnswer, SeriesQuery
from tidegate_server.admin.series.service import release_series
from tidegate_server.domain.change import Address
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.permissions import Permission
from tidegate_server.web import responses
from tidegate_server.web.backend import backend, compute_with_store
from tidegate_server.web.blueprint import Blueprint

blueprint = Blueprint("series", __name__, description="The numbers of releases over time")


@blueprint.operation(
    "GET", f"{ITEM}/series", permission=Permission.READ, query=SeriesQuery, response=SeriesAnswer
)
def get_series(points: int, project: str, environment: str, release: str) -> Response:
    """Get the numbers of a release over time: counts, evidence, and bands of ratios.

    The server keeps fewer points of earlier times. Each point counts what happened since the
    point before it, so the counts always add up to the release's totals.
    """
    store = backend().store
    stored = read_document(store, project, Address(Kind.RELEASE, release, environment))
    readings = store.series.readings(project, environment, release)
    answer = release_series(stored.document, readings, points)
    return responses.value_with_etag(SeriesAnswer(), answer)


@blueprint.operation(
    "GET",
    f"{ITEM}/forecast",
    permission=Permission.READ,
    response=ForecastAnswer,
    errors=(HTTPStatus.TOO_MANY_REQUESTS,),
)
def forecast_release(project: str, environment: str, release: str) -> Response:
    """Forecast when a release opens its next stages.

    The rest of the release is rehearsed 60 times with the traffic and the failures of the present
    stage, by the functions that decide. It is kept for twenty times as long as a core
    worked on it.
    """
    made = compute_with_store(forecast, project, environment, release)
    return responses.value_with_etag(ForecastAnswer(), made)
