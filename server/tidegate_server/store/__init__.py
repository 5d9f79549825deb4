"""Everything that speaks the Redis protocol."""

from tidegate_server.store.snapshots import EncodedSnapshot
from tidegate_server.store.store import Store

__all__ = ["EncodedSnapshot", "Store"]
