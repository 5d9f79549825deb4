"""Tidegate: feature flags evaluated in the application, releases that close by themselves."""

from tidegate.context import Context
from tidegate.version import VERSION

__version__ = VERSION

__all__ = ["Context", "__version__"]
