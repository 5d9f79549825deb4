"""A real store for every module, emptied for every test."""

from __future__ import annotations

from tests.stores import raw, store, valkey

__all__ = ["raw", "store", "valkey"]
