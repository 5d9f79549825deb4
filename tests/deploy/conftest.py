"""A running server for the files in `deploy`."""

from __future__ import annotations

from tests.cli.conftest import server

__all__ = ["server"]
