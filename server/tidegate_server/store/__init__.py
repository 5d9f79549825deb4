"""Everything that speaks the Redis protocol."""

from tidegate_server.store.store import Snapshotted, Store

__all__ = ["Snapshotted", "Store"]
