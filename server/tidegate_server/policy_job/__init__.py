"""The policy job: evaluates releases at their intervals, under a lease."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Callable

from tidegate_server.domain.network_addresses import PUBLIC_ONLY, AllowedNetworks
from tidegate_server.outbound.prometheus import Prometheus
from tidegate_server.policy_job.due_changes import ScheduledRuns
from tidegate_server.policy_job.evidence_sources import EvidenceSources
from tidegate_server.policy_job.loop import PolicyJob
from tidegate_server.store import Store
from tidegate_server.webhooks.sender import MessageSettings

__all__ = ["MessageSettings", "PolicyJob", "Prometheus", "ScheduledRuns", "run"]


def run(
    store: Store,
    stop: threading.Event,
    secret_key: bytes,
    prometheus: Prometheus | None = None,
    networks: AllowedNetworks = PUBLIC_ONLY,
    messages: MessageSettings | None = None,
    make_scheduled_runs: Callable[[], ScheduledRuns] | None = None,
) -> None:
    """Run the policy job in this process until ``stop`` is set.

    Args:
        store: an open store.
        stop: ends the job when it is set.
        secret_key: the server's secret key, for the signatures of requests to webhooks.
        prometheus: answers the queries of policies; None: they have no answer.
        networks: where requests to webhooks may go.
        messages: what messages to people need.
        make_scheduled_runs: returns what makes the runs of scheduled changes.
    """
    holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    sources = EvidenceSources(prometheus)
    PolicyJob(
        store,
        holder,
        secret_key=secret_key,
        sources=sources,
        networks=networks,
        messages=messages,
        make_scheduled_runs=make_scheduled_runs,
    ).run(stop)
