"""The services of remote evaluation in one application."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from flask import Flask, current_app

from tidegate_server.ofrep.allowed_origins import AllowedOrigins
from tidegate_server.ofrep.archived_flags import ArchivedFlags
from tidegate_server.ofrep.environment_cache import EnvironmentCache
from tidegate_server.ofrep.rate_limits import RateLimits
from tidegate_server.ofrep.signed_contexts import ContextVerifier
from tidegate_server.web.backend import Backend

EXTENSION = "tidegate.ofrep"


@dataclass(frozen=True, slots=True)
class OfrepServices:
    """What remote evaluation needs beyond the backend; ``app.extensions["tidegate.ofrep"]``."""

    environments: EnvironmentCache
    allowed_origins: AllowedOrigins
    rate_limits: RateLimits
    contexts: ContextVerifier
    archived_flags: ArchivedFlags


def install(app: Flask, backend: Backend) -> None:
    """Give an application its services of remote evaluation."""
    environments = EnvironmentCache(backend.store)
    backend.on_close(environments.close)
    app.extensions[EXTENSION] = OfrepServices(
        environments,
        AllowedOrigins(backend.store, backend.settings.origins_cache_seconds),
        RateLimits(),
        ContextVerifier(
            backend.store, backend.settings.secret_key, backend.settings.origins_cache_seconds
        ),
        ArchivedFlags(backend.store, backend.settings.origins_cache_seconds),
    )


def ofrep_services() -> OfrepServices:
    """Return the services of the application that serves the current request."""
    return cast(OfrepServices, current_app.extensions[EXTENSION])
