"""The leases of the policy job."""

from __future__ import annotations

from tidegate_server.domain.change import Fence
from tidegate_server.store import keys
from tidegate_server.store.connection import Connection

_RELEASE = (
    "if redis.call('HGET', KEYS[1], 'holder') == ARGV[1] and "
    "redis.call('HGET', KEYS[1], 'number') == ARGV[2] then "
    "redis.call('HSET', KEYS[1], 'expires', '0') end return 1"
)


class Leases:
    """The policy job's lease of every project."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def acquire(self, scope: str, holder: str, ttl_ms: int) -> Fence | None:
        """Take or extend a lease; return None while another process holds it."""
        number = int(self._connection.run_script("lease", [keys.lease(scope)], [holder, ttl_ms]))
        return None if number < 0 else Fence(holder, number)

    def release(self, scope: str, fence: Fence) -> None:
        """Give up a lease at once; do nothing if it is no longer held."""
        self._connection.write(
            "EVAL", _RELEASE, 1, keys.lease(scope), fence.holder, str(fence.number)
        )
