"""What happens in an environment, as server-sent events for pages that stay open."""

from __future__ import annotations

from flask import Response, request
from marshmallow import fields

from tidegate_server.admin.document_reader import read_environment
from tidegate_server.admin.events.sources import POSITION, EnvironmentEvents
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.domain.permissions import Permission
from tidegate_server.errors import FieldProblem, Forbidden, Invalid, Unauthenticated
from tidegate_server.web import event_stream, responses
from tidegate_server.web.access_control import require_permission
from tidegate_server.web.backend import backend
from tidegate_server.web.blueprint import ENVIRONMENT, Blueprint
from tidegate_server.web.request_bodies import JSON

EVENT = {
    "type": "object",
    "description": "one event; `data` is JSON. Commits have an `id`, to continue after it",
    "properties": {
        "id": {"type": "string", "pattern": POSITION.pattern},
        "event": {
            "type": "string",
            "description": "`open`: the stream begins; `reset`: events were lost, read everything "
            "again; `flag`, `release`, `kill`, `segment`, `policy`, ...: a document has "
            "changed; `receipt`: instances have applied a version; `instance`: one has joined or "
            "left, or an application has asked for a flag for the first time",
        },
        "data": {"type": "string", "contentMediaType": JSON},
        "retry": {"type": "integer"},
    },
}

blueprint = Blueprint("events", __name__, description="What happens in an environment")


class MomentAnswer(Strict):
    """The present moment of an environment."""

    moment = fields.String(
        required=True,
        metadata={"description": "another text after each event; it has no order"},
    )


@blueprint.operation(
    "GET",
    f"{ENVIRONMENT}/events/moment",
    permission=Permission.READ,
    response=MomentAnswer,
    etag=False,
)
def get_moment(project: str, environment: str) -> Response:
    """Get the present moment of an environment, before reading what is there.

    If the `open` event of a stream has another moment, something happened in between.
    """
    store = backend().store
    read_environment(store, project, environment)
    return responses.value(
        MomentAnswer(), {"moment": store.activity_feed.moment(project, environment)}
    )


@blueprint.operation(
    "GET",
    f"{ENVIRONMENT}/events",
    permission=Permission.READ,
    response=EVENT,
    content_type=event_stream.CONTENT_TYPE,
    etag=False,
)
def get_event_stream(project: str, environment: str) -> Response:
    """Follow what happens in an environment as server-sent events, resumable by `Last-Event-ID`.

    An event says what has changed and at which revision, not how: read it again.
    """
    store, last_seen = backend().store, _last_event_id()
    read_environment(store, project, environment)

    def still_allowed() -> bool:
        try:
            require_permission(
                backend().authenticator.caller_from_request(), Permission.READ, project, environment
            )
        except (Forbidden, Unauthenticated):
            return False
        return True

    response = backend().streams.response(
        still_allowed, lambda: EnvironmentEvents(store, project, environment, last_seen)
    )
    response.headers["Cache-Control"] = "no-store"
    return response


def _last_event_id() -> str | None:
    text = request.headers.get("Last-Event-ID", "").strip()
    if not text:
        return None
    if POSITION.fullmatch(text) is None:
        message = "Last-Event-ID is the id of the last event; leave it out to begin now."
        raise Invalid(message, FieldProblem("/Last-Event-ID", message))
    return text
