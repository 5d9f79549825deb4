"""A web process of the server that also serves plain Flask routes, the baselines.

One returns prepared bytes from the same worker, without what the application does for each request:
``PUT /baseline/STATUS`` prepares the response; ``POST /baseline`` returns it.
``POST /baseline/report`` adds the counts of a report with one script.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from tidegate_server.processes.web import Web

BASELINE_PATH = "/baseline"
REPORT_BASELINE_PATH = f"{BASELINE_PATH}/report"

ADD = """
for place = 1, #ARGV, 2 do
  redis.call('HINCRBY', KEYS[1], ARGV[place], ARGV[place + 1])
end
return redis.call('HSET', KEYS[1], 'reported', 1)
"""


class WithBaseline:
    """A WSGI application that serves the baseline below its path, and the server elsewhere."""

    def __init__(self, application: Any, baseline: Any) -> None:
        self._application = application
        self._baseline = baseline
        self.extensions = application.extensions

    def __call__(self, environ: Any, start_response: Any) -> Any:
        is_baseline = environ["PATH_INFO"].startswith(BASELINE_PATH)
        application = self._baseline if is_baseline else self._application
        return application(environ, start_response)


def create_baseline() -> Any:
    """Return the Flask application with the plain route."""
    # Imported here, because the worker patches its sockets first.
    from flask import Flask, Response, request
    from tidegate_server.store.connection import open_client

    app = Flask(__name__, static_folder=None)
    client = open_client(os.environ["TIDEGATE_STORE_URL"])
    add = client.register_script(ADD)
    prepared = Response()

    @app.put(f"{BASELINE_PATH}/<int:status>")
    def prepare(status: int) -> Response:
        nonlocal prepared
        prepared = Response(request.get_data(), status, content_type="application/json")
        return Response(status=204)

    @app.post(BASELINE_PATH)
    def respond() -> Response:
        return Response(prepared.get_data(), prepared.status_code, content_type="application/json")

    @app.post(REPORT_BASELINE_PATH)
    def report() -> Any:
        document = request.get_json()
        counts = [
            part
            for group in document["counts"]
            for arm in ("control", "treatment")
            for name, total in group[arm].items()
            for part in (f"{group['release']}|{arm}|{name}", total)
        ]
        add(keys=["baseline"], args=counts)
        return {"version": 1, "ignored": 0}

    return app


class Worker(Web):
    """Gunicorn with the server's settings."""

    def load(self) -> Any:
        """Return the WSGI application of a worker."""
        return WithBaseline(super().load(), create_baseline())


if __name__ == "__main__":
    sys.argv = ["bench"]
    Worker().run()
