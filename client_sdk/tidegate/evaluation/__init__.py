"""The rules of evaluation: from a snapshot and a context to a value."""
