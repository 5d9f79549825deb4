"""Health checks, metrics and the OpenAPI document."""

from __future__ import annotations

from http import HTTPStatus

from flask import Flask, Response
from marshmallow import fields, validate
from prometheus_client import CONTENT_TYPE_LATEST

from tidegate_server.documents.strict_schema import Strict
from tidegate_server.domain.permissions import Permission
from tidegate_server.operations.metrics import metrics
from tidegate_server.web import responses
from tidegate_server.web.backend import backend, current_caller
from tidegate_server.web.blueprint import Blueprint
from tidegate_server.web.etags import with_content_etag
from tidegate_server.web.openapi import Api, with_overlapping_paths

blueprint = Blueprint("operations", __name__, description="Health and metrics")


class LiveAnswer(Strict):
    """The process is alive."""

    status = fields.String(required=True, validate=validate.OneOf(("live",)))


class ReadyAnswer(Strict):
    """The process and its store can answer requests."""

    status = fields.String(required=True, validate=validate.OneOf(("ready", "not ready")))
    store = fields.String(required=True, validate=validate.OneOf(("reachable", "unreachable")))
    durability = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "where an acknowledged write is kept: disk or memory"},
    )


@blueprint.operation("GET", "/health/live", permission=None, response=LiveAnswer, etag=False)
def get_live() -> Response:
    """Check whether the process is alive."""
    return responses.value(LiveAnswer(), {"status": "live"})


@blueprint.operation(
    "GET",
    "/health/ready",
    permission=None,
    response=ReadyAnswer,
    etag=False,
    errors=(HTTPStatus.SERVICE_UNAVAILABLE,),
)
def get_ready() -> Response:
    """Check whether requests can be answered: whether the store is reachable."""
    store = backend().store
    store.ping()
    state = {"status": "ready", "store": "reachable", "durability": store.durability()}
    return responses.value(ReadyAnswer(), state)


@blueprint.operation(
    "GET",
    "/metrics",
    permission=Permission.READ,
    scoped_to_caller=True,
    response={"type": "string"},
    content_type="text/plain",
    etag=False,
)
def get_metrics() -> Response:
    """Read gauges of what you may read, in Prometheus's text format.

    The metrics name flags, so they need a token that may read: set `authorization` in
    Prometheus's scrape configuration.
    """
    text = metrics().text(current_caller())
    return Response(text, content_type=CONTENT_TYPE_LATEST)


def serve_document(app: Flask, api: Api) -> None:
    """Serve the OpenAPI document at ``/openapi.json``, which is not in it."""
    body = app.json.dumps(with_overlapping_paths(api.spec.to_dict()))

    @app.get("/openapi.json")
    def openapi_document() -> Response:
        return with_content_etag(Response(body, content_type="application/json"))
