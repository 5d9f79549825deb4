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

    Raises:
        TypeError: ``client`` is no client, or ``context`` no function.
    """

    def __init__(
        self, client: Client, context: Callable[[Request], Context | str | None] | None
    ) -> None:
        if not isinstance(client, Client):
            raise TypeError(f"client is {client!r}; give a tidegate.Client")
        if context is not None and not callable(context):
            raise TypeError(
                f"context is {context!r}; give a function that returns the context of each request"
            )
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
