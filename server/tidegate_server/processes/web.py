"""The web processes: gunicorn with gevent workers, run by the supervisor.

Only gunicorn is imported here: a worker patches its sockets before it loads the
application, and what was imported earlier would keep the unpatched ones.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger

from tidegate_server.processes import parent_watch

CONNECTIONS = 12_000
"""Open connections a worker takes; a stream is one."""

STOP_SECONDS = 8
HANG_SECONDS = 60


class WebLogger(Logger):  # type: ignore[misc]
    """Gunicorn's messages, by the server's own logging."""

    def setup(self, cfg: Any) -> None:
        """Leave the handlers alone: they are the root logger's."""
        from tidegate_server.processes import logging_setup

        logging_setup.configure(os.environ["TIDEGATE_LOG_LEVEL"], os.environ["TIDEGATE_LOG_FORMAT"])
        self.error_log.handlers = []
        self.error_log.propagate = True
        self.error_log.setLevel("WARNING")
        self.access_log.propagate = False


class Web(BaseApplication):  # type: ignore[misc]
    """Gunicorn, configured; the application is loaded in each worker."""

    def load_config(self) -> None:
        """Take the settings from the environment that the supervisor made."""
        settings = {
            "bind": os.environ["TIDEGATE_BIND"],
            "workers": int(os.environ["TIDEGATE_WORKERS"]),
            "worker_class": "tidegate_server.processes.gevent_worker.Worker",
            "worker_connections": CONNECTIONS,
            "timeout": HANG_SECONDS,
            "graceful_timeout": STOP_SECONDS,
            "keepalive": 75,
            "logger_class": WebLogger,
            "control_socket_disable": True,
            "post_worker_init": _end_connections_with_the_worker,
            "proc_name": "tidegate",
        }
        for name, value in settings.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Any:
        """Return the application, on a store connection of this worker's own."""
        from tidegate_server.application import create_app
        from tidegate_server.store import Store
        from tidegate_server.web.settings import ApiSettings

        store = Store.connect(os.environ["TIDEGATE_STORE_URL"])
        settings = ApiSettings(secret_key=os.environ["TIDEGATE_SECRET_KEY"].encode())
        return create_app(store, settings)


def _end_connections_with_the_worker(worker: Any) -> None:
    """End streams and silent connections as soon as the worker is asked to stop.

    Streams would never end else, and silent connections late.
    """
    import gevent

    def watch() -> None:
        while worker.alive:
            gevent.sleep(0.1)
        worker.wsgi.extensions["tidegate"].close()
        worker.end_silent_connections()

    gevent.spawn(watch)


def main() -> None:
    """Serve until SIGTERM, or until the supervisor is gone.

    Without a supervisor the port has to be free at once: its successor may be waiting.
    """
    parent_watch.watch(lambda: os.kill(os.getpid(), signal.SIGQUIT))
    sys.argv = ["tidegate"]
    Web().run()


if __name__ == "__main__":
    main()
