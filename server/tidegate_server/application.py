"""The Flask application: every room's routes and services on one store."""

from __future__ import annotations

from http import HTTPStatus

from flask import Flask, Response, request

from tidegate_server.admin.audit.routes import blueprint as audit
from tidegate_server.admin.change_requests import routes as change_requests
from tidegate_server.admin.code_references.routes import blueprint as code_references
from tidegate_server.admin.configuration.routes import blueprint as configuration
from tidegate_server.admin.demonstrations.routes import blueprint as demonstrations
from tidegate_server.admin.device_sign_ins.routes import blueprint as device_sign_ins
from tidegate_server.admin.evaluation_counts.routes import blueprint as evaluation_counts
from tidegate_server.admin.evaluations.routes import blueprint as evaluations
from tidegate_server.admin.events.routes import blueprint as events
from tidegate_server.admin.flag_lists import service as flag_lists_service
from tidegate_server.admin.flag_lists.routes import blueprint as flag_lists
from tidegate_server.admin.flags.routes import blueprint as flags
from tidegate_server.admin.groups.routes import blueprint as groups
from tidegate_server.admin.hooks.routes import blueprint as hooks
from tidegate_server.admin.identity_providers import routes as identity_providers
from tidegate_server.admin.instances.routes import blueprint as instances
from tidegate_server.admin.ledgers.routes import blueprint as ledgers
from tidegate_server.admin.me.routes import blueprint as me
from tidegate_server.admin.people.routes import blueprint as people
from tidegate_server.admin.policies.routes import blueprint as policies
from tidegate_server.admin.previews.routes import blueprint as previews
from tidegate_server.admin.projects.environment_routes import blueprint as environments
from tidegate_server.admin.projects.routes import blueprint as projects
from tidegate_server.admin.promotions.routes import blueprint as promotions
from tidegate_server.admin.receipts.routes import blueprint as receipts
from tidegate_server.admin.refused_requests.routes import blueprint as refused_requests
from tidegate_server.admin.releases.routes import blueprint as releases
from tidegate_server.admin.roles.routes import blueprint as roles
from tidegate_server.admin.saved_contexts.routes import blueprint as contexts
from tidegate_server.admin.scheduled_changes.routes import blueprint as scheduled_changes
from tidegate_server.admin.segments import uploaded_keys
from tidegate_server.admin.segments.routes import blueprint as segments
from tidegate_server.admin.series.routes import blueprint as series
from tidegate_server.admin.sessions.routes import blueprint as sessions
from tidegate_server.admin.shares.routes import blueprint as shares
from tidegate_server.admin.sign_in import providers as sign_in_providers
from tidegate_server.admin.sign_in.routes import blueprint as sign_in
from tidegate_server.admin.targeting.routes import blueprint as targeting
from tidegate_server.admin.targeting.routes import kill_blueprint as kills
from tidegate_server.admin.tokens.routes import blueprint as tokens
from tidegate_server.admin.webhooks.routes import blueprint as webhooks
from tidegate_server.dashboard import routes as dashboard
from tidegate_server.ofrep import services as ofrep_services
from tidegate_server.ofrep.routes import blueprint as ofrep
from tidegate_server.operations import metrics
from tidegate_server.operations import routes as operations
from tidegate_server.sdk_api import services as sdk_services
from tidegate_server.sdk_api.plain_requests import PlainRequests
from tidegate_server.sdk_api.routes import blueprint as sdk
from tidegate_server.store import Store
from tidegate_server.web import backend, openapi, request_log
from tidegate_server.web.blueprint import KeyConverter, key_parameter
from tidegate_server.web.settings import ApiSettings
from tidegate_server.web.trusted_proxies import TrustedProxies

BLUEPRINTS = (
    projects,
    environments,
    flag_lists,
    flags,
    targeting,
    evaluations,
    contexts,
    code_references,
    demonstrations,
    evaluation_counts,
    promotions,
    segments,
    policies,
    webhooks,
    hooks,
    configuration,
    releases,
    ledgers,
    series,
    kills,
    instances,
    previews,
    receipts,
    shares,
    refused_requests,
    events,
    change_requests.blueprint,
    scheduled_changes,
    audit,
    tokens,
    sign_in,
    device_sign_ins,
    me,
    sessions,
    people,
    groups,
    roles,
    identity_providers.blueprint,
    identity_providers.secret_blueprint,
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
    change_requests.install(app)
    api = openapi.document(app)
    api.register_converter(KeyConverter, key_parameter)
    for blueprint in BLUEPRINTS:
        api.register_blueprint(blueprint)
    operations.serve_document(app, api)
    dashboard.install(app)
    plain = PlainRequests(app.wsgi_app, app, SECURITY_HEADERS)
    app.wsgi_app = TrustedProxies(plain, settings.trusted_proxies)  # type: ignore[method-assign]
    return app


def install_services(app: Flask, store: Store, settings: ApiSettings) -> None:
    """Give an application new services on a store."""
    new_backend = backend.install(app, store, settings)
    ofrep_services.install(app, new_backend)
    sdk_services.install(app, new_backend)
    uploaded_keys.install(app)
    metrics.install(app, new_backend)
    flag_lists_service.install(app)
    sign_in_providers.install(app, settings)


def add_security_headers(response: Response) -> Response:
    """Add the security headers that a response lacks.

    A 304 gets only ``Cache-Control``: the other headers came with the body.
    """
    if request.path.startswith("/api/") and (
        request.method != "GET" or "Cookie" in request.headers
    ):
        # Caches keep nothing that comes with an ``Authorization``, but do not look at cookies.
        response.headers["Cache-Control"] = "no-store"
    if response.status_code == HTTPStatus.NOT_MODIFIED:
        response.headers.setdefault("Cache-Control", SECURITY_HEADERS["Cache-Control"])
        return response
    names = {name.lower() for name, _ in response.headers}
    response.headers.extend(
        [(name, value) for name, value in SECURITY_HEADERS.items() if name.lower() not in names]
    )
    return response
