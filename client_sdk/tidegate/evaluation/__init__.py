"""Evaluation: from a snapshot and a context to a value. Starts in ``compiled_snapshot``."""
