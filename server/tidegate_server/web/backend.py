"""The services that every route of one application uses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from flask import Flask, current_app, g, request

from tidegate_server.domain.callers import Caller
from tidegate_server.domain.tokens import Token
from tidegate_server.store import Store
from tidegate_server.web import client_connection
from tidegate_server.web.authentication import Authenticator
from tidegate_server.web.computations import Computations, Limits
from tidegate_server.web.event_stream import EventStreams
from tidegate_server.web.settings import ApiSettings

EXTENSION = "tidegate"

COMPUTATIONS = Limits(
    processes=1, most_waiting=8, most_per_caller=2, queue_seconds=15.0, deadline_seconds=30.0
)
"""For what people wait for: simulations, backtests, replays, explanations."""

LARGE_BODIES = Limits(
    processes=1, most_waiting=32, most_per_caller=8, queue_seconds=10.0, deadline_seconds=20.0
)
"""For checking large request bodies. They do not wait for simulations."""

IMPORTS = Limits(
    processes=1,
    most_waiting=8,
    most_per_caller=2,
    queue_seconds=60.0,
    deadline_seconds=120.0,
    after_deadline="If it was an import, it may have been made. Send the same request again to "
    "find out: what was made is not made twice. If it takes too long again, import less at once.",
)
"""For whole projects: up to 10,000 objects at once."""

IMPORT_PATIENCE = 12
"""How many times longer than other requests an import waits for the store, which its own commit
keeps busy for seconds where machines are slow. So its answer says whether it was made."""


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
    computations: Computations
    large_bodies: Computations
    imports: Computations
    _close_functions: list[Callable[[], None]] = field(default_factory=list)

    def on_close(self, function: Callable[[], None]) -> None:
        """Call a function when the application closes, after the event streams have ended."""
        self._close_functions.append(function)

    def close(self) -> None:
        """End every stream and service, so that the worker can stop. Idempotent."""
        self.streams.close()
        self.computations.close()
        self.large_bodies.close()
        self.imports.close()
        self.store.change_feed.close()
        self.store.activity_feed.close()
        self.authenticator.close()
        for function in self._close_functions:
            function()


def install(app: Flask, store: Store, settings: ApiSettings) -> Backend:
    """Give an application a new backend, and return it."""
    authenticator = Authenticator(store, settings)
    backend = Backend(
        store,
        settings,
        authenticator,
        EventStreams(authenticator, settings),
        Computations("simulation, backtest, replay or explanation", COMPUTATIONS),
        Computations("large request body", LARGE_BODIES),
        Computations("export, plan or import of a project", IMPORTS),
    )
    app.extensions[EXTENSION] = backend
    return backend


def backend() -> Backend:
    """Return the backend of the application that serves the current request.

    A planned operation that is only rehearsed has one of its own, whose store commits nothing.
    """
    if "backend" in g:
        return cast(Backend, g.backend)
    return cast(Backend, current_app.extensions[EXTENSION])


def public_address() -> str:
    """Return the address that people open: that of the settings, or else of this request."""
    return backend().settings.public_url or request.host_url.rstrip("/")


def current_caller() -> Caller:
    """Return who makes the current request; its view must name a permission."""
    return cast(Caller, g.caller)


def current_actor() -> str:
    """Return the name of the current request's caller in the audit log."""
    return current_caller().name


def current_token() -> Token:
    """Return the token of the current request for SDKs and evaluations."""
    return cast(Token, g.token)


Arguments = ParamSpec("Arguments")
Value = TypeVar("Value")


def compute_with_store(
    function: Callable[Concatenate[Store, Arguments], Value],
    *arguments: Arguments.args,
    **none: Arguments.kwargs,
) -> Value:
    """Return what a function of the store returns, computed in another process.

    Args:
        function: a function of a module; its arguments and its value can be pickled.
        arguments: its arguments after the store.
        none: keyword arguments are not passed on; there must be none.

    Raises:
        RateLimited, Overloaded, Abandoned: as ``Computations.run_while`` raises them.
        TidegateError: as the function raises it.
    """
    assert not none
    return _compute(backend().computations, 1, function, arguments)


def compute_import(
    function: Callable[Concatenate[Store, Arguments], Value],
    *arguments: Arguments.args,
    **none: Arguments.kwargs,
) -> Value:
    """Do the same as ``compute_with_store`` for a whole project, which may take a minute."""
    assert not none
    return _compute(backend().imports, IMPORT_PATIENCE, function, arguments)


def _compute(
    computations: Computations,
    patience: int,
    function: Callable[..., Value],
    arguments: tuple[Any, ...],
) -> Value:
    services = backend()
    caller = current_caller().id
    return computations.run_while(
        client_connection.waits(request.environ),
        caller,
        _with_store,
        services.store.url,
        patience,
        function,
        arguments,
    )


def _with_store(
    url: str, patience: int, function: Callable[..., Value], arguments: tuple[Any, ...]
) -> Value:
    return function(_connected(url, patience), *arguments)


@cache
def _connected(url: str, patience: int) -> Store:
    return Store.connect(url, patience)
