"""The Flask application: every room's routes and services on one store."""

from __future__ import annotations

from http import HTTPStatus

from flask import Flask, Response, request

from tidegate_server.admin.audit.routes import blueprint as audit
from tidegate_server.admin.evaluations.routes import blueprint as evaluations
from tidegate_server.admin.flags.routes import blueprint as flags
from tidegate_server.admin.hooks.routes import blueprint as hooks
from tidegate_server.admin.instances.routes import blueprint as instances
from tidegate_server.admin.ledgers.routes import blueprint as ledgers
from tidegate_server.admin.policies.routes import blueprint as policies
from tidegate_server.admin.projects.environment_routes import blueprint as environments
from tidegate_server.admin.projects.routes import blueprint as projects
from tidegate_server.admin.releases.routes import blueprint as releases
from tidegate_server.admin.segments.routes import blueprint as segments
from tidegate_server.admin.series.routes import blueprint as series
from tidegate_server.admin.targeting.routes import blueprint as targeting
from tidegate_server.admin.targeting.routes import kill_blueprint as kills
from tidegate_server.admin.tokens.routes import blueprint as tokens
from tidegate_server.admin.webhooks.routes import blueprint as webhooks
from tidegate_server.ofrep import services as ofrep_services
from tidegate_server.ofrep.routes import blueprint as ofrep
from tidegate_server.operations import metrics
from tidegate_server.operations import routes as operations
from tidegate_server.sdk_api import services as sdk_services
from tidegate_server.sdk_api.routes import blueprint as sdk
from tidegate_server.store import Store
from tidegate_server.web import backend, openapi, request_log
from tidegate_server.web.blueprint import KeyConverter, key_parameter
from tidegate_server.web.settings import ApiSettings
from tidegate_server.web.trusted_proxies import TrustedProxies

BLUEPRINTS = (
    projects,
    environments,
    flags,
    targeting,
    evaluations,
    segments,
    policies,
    webhooks,
    hooks,
    releases,
    ledgers,
    series,
    kills,
    instances,
    audit,
    tokens,
    sdk,
    ofrep,
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
    """Return the application. It starts no thread and reads nothing before the first request.

    Call ``app.extensions["tidegate"].close()`` to end its streams when the worker stops.
    """
    app = Flask("tidegate_server", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.body_limit
    app.json.sort_keys = False  # type: ignore[attr-defined] # of the default provider
    app.url_map.converters["key"] = KeyConverter
    app.url_map.strict_slashes = True
    install_services(app, store, settings)
    request_log.install(app)
    app.after_request(add_security_headers)
    api = openapi.document(app)
    api.register_converter(KeyConverter, key_parameter)
    for blueprint in BLUEPRINTS:
        api.register_blueprint(blueprint)
    operations.serve_document(app, api)
    app.wsgi_app = TrustedProxies(app.wsgi_app, settings.trusted_proxies)  # type: ignore[method-assign]
    return app


def install_services(app: Flask, store: Store, settings: ApiSettings) -> None:
    """Give an application new services on a store."""
    new_backend = backend.install(app, store, settings)
    ofrep_services.install(app, new_backend)
    sdk_services.install(app, new_backend)
    metrics.install(app, new_backend)


def add_security_headers(response: Response) -> Response:
    """Add the security headers that a response lacks.

    A 304 gets only ``Cache-Control``: the other headers came with the body.
    """
    if response.status_code == HTTPStatus.NOT_MODIFIED:
        response.headers.setdefault("Cache-Control", SECURITY_HEADERS["Cache-Control"])
        return response
    names = {name.lower() for name, _ in response.headers}
    response.headers.extend(
        [(name, value) for name, value in SECURITY_HEADERS.items() if name.lower() not in names]
    )
    if request.path.startswith("/api/") and request.method != "GET":
        response.headers["Cache-Control"] = "no-store"
    return response
