"""A web process like the server's own, with a bare Flask route beside the application.

The bare route returns the bytes that it was given, from the same worker, without any of what
the application does for each request.
"""

from __future__ import annotations

import sys
from typing import Any

from tidegate_server.processes.web import Web

BARE = "/bare"


class Both:
    """The application, and the bare route under its own path."""

    def __init__(self, application: Any, bare: Any) -> None:
        self._application = application
        self._bare = bare
        self.extensions = application.extensions

    def __call__(self, environ: Any, start_response: Any) -> Any:
        here = self._bare if environ["PATH_INFO"].startswith(BARE) else self._application
        return here(environ, start_response)


def bare() -> Any:
    """A Flask application of one route, and a way to tell it what to return."""
    # Not before the worker has patched its sockets.
    from flask import Flask, Response, request

    app = Flask(__name__, static_folder=None)
    kept = Response()

    @app.put(f"{BARE}/<int:status>")
    def keep(status: int) -> Response:
        nonlocal kept
        kept = Response(request.get_data(), status, content_type="application/json")
        return Response(status=204)

    @app.post(BARE)
    def give() -> Response:
        return Response(kept.get_data(), kept.status_code, content_type="application/json")

    return app


class Worker(Web):
    """Gunicorn as the server runs it."""

    def load(self) -> Any:
        """Return both applications."""
        return Both(super().load(), bare())


if __name__ == "__main__":
    sys.argv = ["bench"]
    Worker().run()
