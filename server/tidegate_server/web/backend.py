"""What every route of one application works with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from flask import Flask, current_app, g

from tidegate_server.domain.tokens import Token
from tidegate_server.ofrep.allowed_origins import Origins
from tidegate_server.ofrep.change_events import Notices
from tidegate_server.ofrep.environment_cache import Residents
from tidegate_server.operations.metrics import Metrics
from tidegate_server.sdk_api.streams import Streams
from tidegate_server.store import Store
from tidegate_server.web.access_control import Authenticator, actor_name
from tidegate_server.web.rate_limits import RateLimits
from tidegate_server.web.settings import ApiSettings

EXTENSION = "tidegate"


@dataclass(frozen=True, slots=True)
class Backend:
    """The store and what stands on it; ``app.extensions["tidegate"]``."""

    store: Store
    settings: ApiSettings
    authenticator: Authenticator
    streams: Streams
    metrics: Metrics
    residents: Residents
    notices: Notices
    rate_limits: RateLimits
    origins: Origins

    def close(self) -> None:
        """End every stream and report a last time, so that the worker can stop. Idempotent."""
        self.notices.close()
        self.streams.close()
        self.residents.close()


def install(app: Flask, store: Store, settings: ApiSettings) -> None:
    """Give an application its backend."""
    authenticator = Authenticator(store, settings)
    streams = Streams(store, authenticator, settings)
    app.extensions[EXTENSION] = Backend(
        store=store,
        settings=settings,
        authenticator=authenticator,
        streams=streams,
        metrics=Metrics(store),
        residents=Residents(store),
        notices=Notices(authenticator, settings),
        rate_limits=RateLimits(),
        origins=Origins(store, settings.origins_cache_seconds),
    )


def backend() -> Backend:
    """The backend of the application that serves the present request."""
    return cast(Backend, current_app.extensions[EXTENSION])


def current_token() -> Token:
    """The token of the present request, once the route's guard has let it in."""
    return cast(Token, g.token)


def current_actor() -> str:
    """Who the audit log says did this."""
    return actor_name(current_token())
