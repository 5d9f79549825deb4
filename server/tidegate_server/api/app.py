"""The Flask application: every route on one store."""

from __future__ import annotations

from http import HTTPStatus

from flask import Flask, Response, request

from tidegate_server.api import backend, openapi, request_log
from tidegate_server.api.blueprint import KeyConverter, key_parameter
from tidegate_server.api.routes import (
    audit,
    environments,
    flags,
    hooks,
    instances,
    kills,
    ledgers,
    ofrep,
    operations,
    policies,
    projects,
    releases,
    sdk,
    segments,
    targeting,
    tokens,
    webhooks,
)
from tidegate_server.api.settings import ApiSettings
from tidegate_server.store import Store

BLUEPRINTS = (
    projects.blueprint,
    environments.blueprint,
    flags.blueprint,
    targeting.blueprint,
    segments.blueprint,
    policies.blueprint,
    webhooks.blueprint,
    hooks.blueprint,
    releases.blueprint,
    ledgers.blueprint,
    kills.blueprint,
    instances.blueprint,
    audit.blueprint,
    tokens.blueprint,
    sdk.blueprint,
    ofrep.blueprint,
    operations.blueprint,
)

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


def create_app(store: Store, settings: ApiSettings) -> Flask:
    """The application. It starts no thread and reads nothing before the first request.

    ``app.extensions["tidegate"].close()`` ends its streams when the worker has to stop.
    """
    app = Flask("tidegate_server.api", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.body_limit
    app.json.sort_keys = False  # type: ignore[attr-defined] # of the default provider
    app.url_map.converters["key"] = KeyConverter
    app.url_map.strict_slashes = True
    backend.install(app, store, settings)
    request_log.install(app)
    app.after_request(secure)
    api = openapi.document(app)
    api.register_converter(KeyConverter, key_parameter)
    for blueprint in BLUEPRINTS:
        api.register_blueprint(blueprint)
    operations.serve_document(app, api)
    return app


def secure(response: Response) -> Response:
    """Headers that keep browsers from doing with an answer what it is not for.

    What has no body of its own, since nothing has changed, stands under the headers that came
    with the body.
    """
    if response.status_code == HTTPStatus.NOT_MODIFIED:
        response.headers.setdefault("Cache-Control", SECURITY_HEADERS["Cache-Control"])
        return response
    present = {name.lower() for name, _ in response.headers}
    response.headers.extend(
        [(name, value) for name, value in SECURITY_HEADERS.items() if name.lower() not in present]
    )
    if request.path.startswith("/api/") and request.method != "GET":
        response.headers["Cache-Control"] = "no-store"
    return response
