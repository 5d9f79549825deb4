"""The services that every route of one application uses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from flask import Flask, current_app, g

from tidegate_server.domain.tokens import Token
from tidegate_server.store import Store
from tidegate_server.web.access_control import Authenticator, actor_name
from tidegate_server.web.event_stream import EventStreams
from tidegate_server.web.settings import ApiSettings

EXTENSION = "tidegate"


@dataclass(frozen=True, slots=True)
class Backend:
    """The store and the services on it; ``app.extensions["tidegate"]``.

    A room keeps its own services in ``app.extensions`` under its own key, and
    registers their end with ``on_close``.
    """

    store: Store
    settings: ApiSettings
    authenticator: Authenticator
    streams: EventStreams
    _close_functions: list[Callable[[], None]] = field(default_factory=list)

    def on_close(self, function: Callable[[], None]) -> None:
        """Call a function when the application closes, after the event streams have ended."""
        self._close_functions.append(function)

    def close(self) -> None:
        """End every stream and service, so that the worker can stop. Idempotent."""
        self.streams.close()
        self.store.change_feed.close()
        for function in self._close_functions:
            function()


def install(app: Flask, store: Store, settings: ApiSettings) -> Backend:
    """Give an application a new backend, and return it."""
    authenticator = Authenticator(store, settings)
    backend = Backend(store, settings, authenticator, EventStreams(authenticator, settings))
    app.extensions[EXTENSION] = backend
    return backend


def backend() -> Backend:
    """Return the backend of the application that serves the current request."""
    return cast(Backend, current_app.extensions[EXTENSION])


def current_token() -> Token:
    """Return the token of the current request; its view must require one."""
    return cast(Token, g.token)


def current_actor() -> str:
    """Return the name of the current request's token in the audit log."""
    return actor_name(current_token())
