"""The policy job's process, started by the supervisor or as `tidegate policy-job`."""

from __future__ import annotations

import os
import signal
import threading
from functools import partial

import structlog

from tidegate_server import policy_job, tracing
from tidegate_server.admin.bootstrap import key_in_use
from tidegate_server.domain.network_addresses import PUBLIC_ONLY, AllowedNetworks
from tidegate_server.errors import StoreUnavailable
from tidegate_server.processes import logging_setup
from tidegate_server.processes.mail_settings import mail_server_in
from tidegate_server.processes.parent_watch import watch_parent
from tidegate_server.processes.settings import parse_webhook_networks
from tidegate_server.store import Store, schema_versions

log = structlog.get_logger("tidegate.policy_job")


def run(
    store_url: str,
    secret_key: bytes,
    prometheus_url: str = "",
    prometheus_token: str = "",
    networks: AllowedNetworks = PUBLIC_ONLY,
    messages: policy_job.MessageSettings | None = None,
) -> None:
    """Run the policy job until SIGTERM, SIGINT, or the end of the supervisor.

    Args:
        store_url: the servers' store.
        secret_key: the servers' secret key, which signs requests to webhooks.
        prometheus_url: the Prometheus for the queries of policies; empty for none.
        prometheus_token: a bearer token for Prometheus.
        networks: where webhooks may be.
        messages: what messages to people need.

    Raises:
        StartupRefused: the address is not a store's, the store is too old, or it was used with
            another secret key.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    watch_parent(stop.set)
    tracing.start("policy job", os.environ)
    connected = _connect(store_url, secret_key, stop)
    if connected is not None:
        store, key = connected
        prometheus = None
        if prometheus_url:
            prometheus = policy_job.Prometheus(prometheus_url, prometheus_token)
        messages = messages or policy_job.MessageSettings()
        log.info("policy_job_started")  # otherwise one that does not lead would say nothing
        make_runs = partial(_scheduled_runs, store, key, networks, messages)
        policy_job.run(store, stop, key, prometheus, networks, messages, make_runs)
        store.close()
    tracing.stop()


def _scheduled_runs(
    store: Store,
    secret_key: bytes,
    networks: AllowedNetworks,
    messages: policy_job.MessageSettings,
) -> policy_job.ScheduledRuns:
    """Return what makes scheduled changes: an application that serves nobody.

    It is imported here, because most policy jobs never need it.
    """
    from tidegate_server.admin.scheduled_changes.runs import ScheduledRuns
    from tidegate_server.application import create_app
    from tidegate_server.web.settings import ApiSettings

    settings = ApiSettings(
        secret_key,
        webhook_networks=networks,
        public_url=messages.public_url,
        sends_mail=messages.mail_server is not None,
    )
    return ScheduledRuns(create_app(store, settings))


def _connect(
    store_url: str, secret_key: bytes, stop: threading.Event
) -> tuple[Store, bytes] | None:
    """Return the store and its secret key, or None if the process was stopped before."""
    logged = False
    while not stop.is_set():
        try:
            store = Store.connect(store_url)
            schema_versions.check(store)
            key = key_in_use(store, secret_key)
        except StoreUnavailable as error:
            if not logged:
                log.warning("store_unavailable", problem=error.message)
                logged = True
            stop.wait(0.5)
        else:
            return store, key
    return None


if __name__ == "__main__":
    logging_setup.configure(os.environ["TIDEGATE_LOG_LEVEL"], os.environ["TIDEGATE_LOG_FORMAT"])
    run(
        os.environ["TIDEGATE_STORE_URL"],
        os.environ["TIDEGATE_SECRET_KEY"].encode(),
        os.environ["TIDEGATE_PROMETHEUS_URL"],
        os.environ["TIDEGATE_PROMETHEUS_TOKEN"],
        parse_webhook_networks(os.environ["TIDEGATE_WEBHOOK_NETWORKS"]),
        policy_job.MessageSettings(os.environ["TIDEGATE_PUBLIC_URL"], mail_server_in(os.environ)),
    )
