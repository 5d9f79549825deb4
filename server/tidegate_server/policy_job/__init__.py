"""The policy job: evaluates releases at their intervals, under a lease."""

from __future__ import annotations

import os
import secrets
import socket
import threading

from tidegate_server.outbound.prometheus import Prometheus
from tidegate_server.policy_job.evidence_sources import Sources
from tidegate_server.policy_job.loop import PolicyJob
from tidegate_server.store import Store

__all__ = ["PolicyJob", "Prometheus", "run"]


def run(
    store: Store, stop: threading.Event, secret_key: bytes, prometheus: Prometheus | None = None
) -> None:
    """Run the policy job in this process until ``stop`` is set.

    Args:
        store: an open store.
        stop: ends the run.
        secret_key: the server's, which requests to webhooks are signed with.
        prometheus: where the queries of policies go; None: nowhere.
    """
    holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    PolicyJob(store, holder, secret_key=secret_key, sources=Sources(prometheus)).run(stop)
