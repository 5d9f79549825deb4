from tests.policy_job.conftest import deployment, start
from tests.stores import raw, store, valkey

__all__ = ["deployment", "raw", "start", "store", "valkey"]
