"""One operation for each request of a Flask application."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tidegate.client import Client
from tidegate.context import Context
from tidegate.integrations.visitor_cookie import VisitorCookie
from tidegate.integrations.wsgi import TidegateMiddleware

if TYPE_CHECKING:
    from flask import Flask


class Tidegate:
    """Opens an operation for each request of ``app``, as ``TidegateMiddleware`` does.

    Args:
        app: the application; you can also pass it to ``init_app`` later.
        client: the client whose flags the application evaluates.
        context: returns the context of a request. Called without arguments at the first
            evaluation, within the request context: use ``flask.request``, ``session`` and ``g``.
        visitor_cookie: as for ``TidegateMiddleware``.
    """

    def __init__(
        self,
        app: Flask | None = None,
        client: Client | None = None,
        context: Callable[[], Context | str | None] | None = None,
        visitor_cookie: VisitorCookie | None = None,
    ) -> None:
        self._client = client
        self._visitor_cookie = visitor_cookie
        self._context = context
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask, client: Client | None = None) -> None:
        """Wrap an application.

        Raises:
            ValueError: no client was given, here or before.
        """
        client = client or self._client
        if client is None:
            raise ValueError("give the Tidegate extension a client: Tidegate(app, client)")
        context = self._context
        app.wsgi_app = TidegateMiddleware(  # type: ignore[method-assign]
            app.wsgi_app,
            client,
            None if context is None else lambda _: context(),
            self._visitor_cookie,
        )
        app.extensions["tidegate"] = client
