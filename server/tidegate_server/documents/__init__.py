"""Schemas of the documents that people write, for the API and for commands. No I/O."""
