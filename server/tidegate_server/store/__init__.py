"""Everything that speaks the Redis protocol."""

from tidegate_server.store.store import EncodedSnapshot, Store

__all__ = ["EncodedSnapshot", "Store"]
