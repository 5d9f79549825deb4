"""What the integrations of web frameworks and task queues share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from tidegate.client import Client
from tidegate.context import Context
from tidegate.operation import Operation

if TYPE_CHECKING:
    from tidegate.integrations.visitor_cookie import Visitor

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

    def operation(self, request: Request, visitor: Visitor | None = None) -> Operation:
        """Return the operation of one request, which has not begun.

        Args:
            request: given to ``context``.
            visitor: whose key the request has, if the integration has a cookie for visitors.
        """
        context = self._context

        def resolve() -> Context | str | None:
            given = context(request) if context else None
            return given if visitor is None else visitor.context(given)

        return self._client.operation_of(resolve)
