"""Flags, segments, policies and releases, and how they may change. Pure: no I/O."""
