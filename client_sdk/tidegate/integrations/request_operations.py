"""What the integrations of web frameworks and task queues share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from tidegate.client import Client
from tidegate.context import NOBODY, Context
from tidegate.operation import Operation

Request = TypeVar("Request")


class RequestOperations(Generic[Request]):
    """Makes an operation for each request or task.

    Args:
        client: counts the operations.
        context: returns the context of a request; called at the request's first evaluation.
    """

    def __init__(
        self, client: Client, context: Callable[[Request], Context | str | None] | None
    ) -> None:
        self._client = client
        self._context = context

    def operation(self, request: Request) -> Operation:
        """Return the operation of one request, which has not begun."""
        context = self._context
        return self._client.operation_of(lambda: context(request) if context else NOBODY)
