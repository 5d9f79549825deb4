"""The web processes: gunicorn with gevent workers, started by the supervisor.

This module imports only gunicorn at its top: a worker patches the socket module before it loads
the application, and modules imported earlier would keep the unpatched sockets.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger

from tidegate_server.processes.parent_watch import watch_parent

STOP_SECONDS = 8
HANG_SECONDS = 60
GARBAGE_THRESHOLDS = (10_000, 20, 20)


class WebLogger(Logger):  # type: ignore[misc]
    """Sends gunicorn's messages to the server's logging."""

    def setup(self, cfg: Any) -> None:
        """Use the root logger's handlers."""
        from tidegate_server.processes import logging_setup

        logging_setup.configure(os.environ["TIDEGATE_LOG_LEVEL"], os.environ["TIDEGATE_LOG_FORMAT"])
        self.error_log.handlers = []
        self.error_log.propagate = True
        self.error_log.setLevel("WARNING")
        self.access_log.propagate = False


class Web(BaseApplication):  # type: ignore[misc]
    """The gunicorn server; each worker loads the application."""

    def load_config(self) -> None:
        """Read the settings from the environment that the supervisor passes."""
        settings = {
            "bind": os.environ["TIDEGATE_BIND"],
            "workers": int(os.environ["TIDEGATE_WORKERS"]),
            "worker_class": "tidegate_server.processes.gevent_worker.Worker",
            "worker_connections": int(os.environ["TIDEGATE_CONNECTIONS"]),
            "timeout": HANG_SECONDS,
            "graceful_timeout": STOP_SECONDS,
            "keepalive": True,  # how long, TimedSocket says
            "logger_class": WebLogger,
            "control_socket_disable": True,
            # The application reads forwarded headers, from the proxies that its settings name.
            "forwarded_allow_ips": "",
            "post_worker_init": _end_connections_with_the_worker,
            "child_exit": _forget_worker,
            "proc_name": "tidegate",
        }
        for name, value in settings.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Any:
        """Return the application, with this worker's own connection to the store."""
        gc.disable()  # what is imported stays: looking for garbage takes a quarter of the start
        from tidegate_server import tracing
        from tidegate_server.application import create_app
        from tidegate_server.processes.settings import (
            parse_identity_provider_networks,
            parse_trusted_proxies,
            parse_webhook_networks,
        )
        from tidegate_server.store import Store
        from tidegate_server.web.settings import ApiSettings

        tracing.start("web", os.environ)
        store = Store.connect(os.environ["TIDEGATE_STORE_URL"])
        settings = ApiSettings(
            secret_key=os.environ["TIDEGATE_SECRET_KEY"].encode(),
            webhook_networks=parse_webhook_networks(os.environ["TIDEGATE_WEBHOOK_NETWORKS"]),
            password_sign_in=os.environ["TIDEGATE_PASSWORD_SIGN_IN"] == "on",  # noqa: S105
            identity_provider_networks=parse_identity_provider_networks(
                os.environ["TIDEGATE_IDENTITY_PROVIDER_NETWORKS"]
            ),
            reports_per_minute=int(os.environ["TIDEGATE_REPORTS_PER_MINUTE"]),
            session_idle_seconds=int(os.environ["TIDEGATE_SESSION_IDLE"]),
            session_seconds=int(os.environ["TIDEGATE_SESSION_LIMIT"]),
            trusted_proxies=parse_trusted_proxies(os.environ["TIDEGATE_TRUSTED_PROXIES"]),
            public_url=os.environ["TIDEGATE_PUBLIC_URL"],
            sends_mail=bool(os.environ["TIDEGATE_SMTP_SERVER"]),
        )
        app = create_app(store, settings)
        _leave_out_of_garbage_collection()
        return app


def _leave_out_of_garbage_collection() -> None:
    """Let garbage collections look only at what comes from now on, and not so often.

    Otherwise each full one would look at everything that was imported, for hundreds of
    milliseconds, while thousands of streams are opened.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    gc.enable()


def _end_connections_with_the_worker(worker: Any) -> None:
    # Streams would never end by themselves, and idle connections too late.
    import gevent

    def watch() -> None:
        while worker.alive:
            gevent.sleep(0.1)
        worker.wsgi.extensions["tidegate"].close()
        worker.end_idle_connections()

    gevent.spawn(watch)


def _forget_worker(arbiter: Any, worker: Any) -> None:
    from tidegate_server.process_metrics import forget_process

    forget_process(worker.pid)


def main() -> None:
    """Serve until SIGTERM or the end of the supervisor."""
    # SIGQUIT frees the port at once: a new supervisor may be waiting for it.
    watch_parent(lambda: os.kill(os.getpid(), signal.SIGQUIT))
    sys.argv = ["tidegate"]
    Web().run()


if __name__ == "__main__":
    main()
