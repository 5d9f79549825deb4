"""Tidegate: feature flags, and releases that advance while healthy and else roll back."""

from tidegate.client import Client
from tidegate.context import Context
from tidegate.details import ClientEvent, ClientStatus, EvaluationDetails
from tidegate.errors import InvalidCondition, TidegateError, WireError
from tidegate.operation import Operation
from tidegate.version import VERSION

__version__ = VERSION

__all__ = [
    "Client",
    "ClientEvent",
    "ClientStatus",
    "Context",
    "EvaluationDetails",
    "InvalidCondition",
    "Operation",
    "TidegateError",
    "WireError",
    "__version__",
]
