"""The numbers of a release over time, for pictures."""

from __future__ import annotations

from flask import Response

from tidegate_server.admin.document_reader import read_document
from tidegate_server.admin.releases.routes import ITEM
from tidegate_server.admin.series.schemas import SeriesAnswer, SeriesQuery
from tidegate_server.admin.series.service import release_series
from tidegate_server.domain.change import Address, Kind
from tidegate_server.domain.tokens import Role
from tidegate_server.web import responses
from tidegate_server.web.backend import backend
from tidegate_server.web.blueprint import Blueprint

blueprint = Blueprint("series", __name__, description="The numbers of releases over time")


@blueprint.operation(
    "GET", f"{ITEM}/series", role=Role.READER, query=SeriesQuery, response=SeriesAnswer
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
