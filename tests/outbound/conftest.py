from tests.policy_job.conftest import deployment
from tests.stores import raw, store, valkey

__all__ = ["deployment", "raw", "store", "valkey"]
