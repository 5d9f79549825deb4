"""How often flags are evaluated, over time, and which flags applications miss."""

from __future__ import annotations

from flask import Response

from tidegate_server.admin.evaluation_counts import service
from tidegate_server.admin.evaluation_counts.schemas import (
    EvaluationsAnswer,
    EvaluationsQuery,
    EvaluationsRequest,
    UnknownFlagPage,
)
from tidegate_server.domain.permissions import Permission
from tidegate_server.web import responses
from tidegate_server.web.backend import backend
from tidegate_server.web.blueprint import ENVIRONMENT, Blueprint
from tidegate_server.web.pagination import PageQuery, PageRequest, paginate

blueprint = Blueprint(
    "evaluation counts", __name__, description="How often applications ask for flags"
)


@blueprint.operation(
    "GET",
    f"{ENVIRONMENT}/flags/<key:flag>/evaluations",
    permission=Permission.READ,
    query=EvaluationsQuery,
    response=EvaluationsAnswer,
)
def get_evaluations(
    wanted: EvaluationsRequest, project: str, environment: str, flag: str
) -> Response:
    """Get how often a flag was evaluated in each minute, hour or day, by variant.

    Minutes are kept for 3 hours, hours for 8 days, days for 100 days. A flag that does not exist
    has no evaluations.
    """
    found = service.evaluation_series(
        backend().store,
        project,
        environment,
        flag,
        wanted.step,
        wanted.from_ms,
        wanted.to_ms,
    )
    return responses.value_with_etag(EvaluationsAnswer(), found)


@blueprint.operation(
    "GET",
    f"{ENVIRONMENT}/unknown-flags",
    permission=Permission.READ,
    query=PageQuery,
    response=UnknownFlagPage,
)
def list_unknown_flags(page: PageRequest, project: str, environment: str) -> Response:
    """List the flags that applications ask for and that do not exist.

    The server remembers the last 1,000 of them.
    """
    found = service.unknown_flags(backend().store, project, environment)
    return responses.page(UnknownFlagPage(), *paginate(found, page))
