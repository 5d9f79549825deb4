from __future__ import annotations

from tests.policy_job.deployment import deployment
from tests.receiver import start_receiver
from tests.stores import raw, store, valkey

__all__ = ["deployment", "raw", "start_receiver", "store", "valkey"]
