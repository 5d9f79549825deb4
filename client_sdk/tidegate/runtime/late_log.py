"""The logger ``tidegate``, for modules that every start imports.

Most processes that only evaluate flags log nothing, and to import ``logging`` takes a fifth of
the time that ``import tidegate`` takes without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidegate.runtime.late_imports import load

if TYPE_CHECKING:
    import logging


def logger() -> logging.Logger:
    """Return the logger. It has no handler: without one, Python prints warnings to stderr."""
    found: logging.Logger = load("logging").getLogger("tidegate")
    return found
