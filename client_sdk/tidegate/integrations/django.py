"""One operation per Django request, under WSGI and ASGI.

In the settings::

    MIDDLEWARE = ["tidegate.integrations.django.TidegateMiddleware", ...]
    TIDEGATE = {"client": "shop.flags.client", "context": "shop.flags.context_of"}

``client`` is a ``tidegate.Client``, ``context`` a function of the request that returns a
``tidegate.Context``; either is given itself or by its dotted path.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import FileResponse, HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.utils.module_loading import import_string

from tidegate.client import Client
from tidegate.context import NOBODY, Context
from tidegate.operation import Operation

Respond = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]


class TidegateMiddleware:
    """Put it first, so that everything that can fail is inside.

    A response with a 5xx status is an error, which is what Django makes of an exception
    that nobody handled, and so is a stream that raises; everything else is ok. A cancelled
    request is neither, and neither is a stream that the client did not stay for. A file that is
    sent counts as ended when the view has returned it.

    Raises:
        ImproperlyConfigured: there is no ``TIDEGATE`` in the settings, or no client in it.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Respond) -> None:
        self._respond = get_response
        said = getattr(settings, "TIDEGATE", None)
        if not isinstance(said, dict) or "client" not in said:
            raise ImproperlyConfigured(
                'Say whose flags are asked for: TIDEGATE = {"client": "shop.flags.client"}.'
            )
        self._client: Client = _found(said["client"])
        self._context: Callable[[HttpRequest], Context] | None = _found(said.get("context"))
        self._async = iscoroutinefunction(get_response)
        if self._async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Serve one request in an operation of its own."""
        if self._async:
            return self._serve(request)
        operation = self._operation(request).begin()
        try:
            response = cast(HttpResponseBase, self._respond(request))
        except BaseException as error:
            operation.end_with(error)
            raise
        return _answered(operation, response)

    async def _serve(self, request: HttpRequest) -> HttpResponseBase:
        operation = self._operation(request).begin()
        try:
            response = await cast("Awaitable[HttpResponseBase]", self._respond(request))
        except BaseException as error:
            operation.end_with(error)
            raise
        return _answered(operation, response)

    def _operation(self, request: HttpRequest) -> Operation:
        context = self._context
        return self._client.operation_of(lambda: context(request) if context else NOBODY)


def _answered(operation: Operation, response: HttpResponseBase) -> HttpResponseBase:
    """End the operation with its response, or let a stream do so when it ends."""
    if response.status_code >= 500:
        operation.fail()
    if not isinstance(response, StreamingHttpResponse) or isinstance(response, FileResponse):
        operation.end()
        return response
    content: Any = response.streaming_content
    pieces = _async_pieces if response.is_async else _pieces
    response.streaming_content = pieces(content, operation)
    # Django calls these when it is done with the response; after an end it does nothing.
    closers: list[Callable[[], None]] = response._resource_closers
    closers.append(operation.cancel)
    return response


def _pieces(content: Iterable[bytes], operation: Operation) -> Iterator[bytes]:
    try:
        yield from content
    except Exception as error:
        operation.end_with(error)
        raise
    operation.end()


async def _async_pieces(
    content: AsyncIterable[bytes], operation: Operation
) -> AsyncIterator[bytes]:
    try:
        async for piece in content:
            yield piece
    except Exception as error:
        operation.end_with(error)
        raise
    operation.end()


def _found(value: Any) -> Any:
    return import_string(value) if isinstance(value, str) else value
