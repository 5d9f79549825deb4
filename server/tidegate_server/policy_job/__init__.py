"""The policy job: evaluates releases at their intervals, under a lease."""

from __future__ import annotations

import os
import secrets
import socket
import threading

from tidegate_server.policy_job.job import PolicyJob
from tidegate_server.store import Store

__all__ = ["PolicyJob", "run"]


def run(store: Store, stop: threading.Event, secret_key: bytes) -> None:
    """Run the policy job in this process until ``stop`` is set.

    Args:
        store: an open store.
        stop: ends the run.
        secret_key: the server's, which requests to webhooks are signed with.
    """
    holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    PolicyJob(store, holder, secret_key=secret_key).run(stop)
