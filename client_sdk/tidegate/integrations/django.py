"""One operation for each Django request, under WSGI and ASGI.

In the settings::

    MIDDLEWARE = ["tidegate.integrations.django.TidegateMiddleware", ...]
    TIDEGATE = {"client": "shop.flags.client", "context": "shop.flags.context_of"}

``client`` is a ``tidegate.Client``; ``context`` is a function that takes the request and returns
a ``tidegate.Context``; ``visitor_cookie`` is a ``VisitorCookie`` that gives visitors a targeting
key where ``context`` returns None. Set each to the object itself or to its dotted path.
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
from tidegate.context import Context
from tidegate.integrations.request_operations import RequestOperations
from tidegate.integrations.visitor_cookie import VISITOR, Visitor, VisitorCookie
from tidegate.operation import Operation

SETTINGS: frozenset[str] = frozenset({"client", "context", "visitor_cookie"})

Respond = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]


class TidegateMiddleware:
    """Opens an operation for each request. Put it first in ``MIDDLEWARE``.

    A response with a 5xx status is an error; Django makes one of an unhandled exception. A stream
    that raises is an error too; everything else is ok. A cancelled request has no outcome, nor
    has a stream that the visitor left before its end. A file response ends when the view has
    returned it.

    Raises:
        ImproperlyConfigured: the settings have no ``TIDEGATE``, or it has no client, or something
            that is not known.
        TypeError: the client is no ``Client``, or the context no function.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Respond) -> None:
        self._respond = get_response
        options = getattr(settings, "TIDEGATE", None)
        if not isinstance(options, dict) or "client" not in options:
            raise ImproperlyConfigured('Set a client: TIDEGATE = {"client": "shop.flags.client"}.')
        if unknown := options.keys() - SETTINGS:
            raise ImproperlyConfigured(
                f"TIDEGATE has {', '.join(map(repr, sorted(unknown, key=str)))}; it takes "
                f"{', '.join(sorted(SETTINGS))}."
            )
        client: Client = _load(options["client"])
        context: Callable[[HttpRequest], Context | str | None] | None = _load(
            options.get("context")
        )
        self._requests = RequestOperations(client, context)
        self._cookie: VisitorCookie | None = _load(options.get("visitor_cookie"))
        self._async = iscoroutinefunction(get_response)
        if self._async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Serve one request within an operation."""
        if self._async:
            return self._serve(request)
        visitor = self._visitor(request)
        operation = self._requests.operation(request, visitor).begin()
        try:
            response = cast(HttpResponseBase, self._respond(request))
        except BaseException as error:
            operation.end_with(error)
            raise
        return _end_with_response(operation, response, visitor)

    def _visitor(self, request: HttpRequest) -> Visitor | None:
        if self._cookie is None:
            return None
        cookies = request.META.get("HTTP_COOKIE", "")
        visitor = self._cookie.visitor(cookies, https=request.is_secure())
        request.META[VISITOR] = visitor
        return visitor

    async def _serve(self, request: HttpRequest) -> HttpResponseBase:
        visitor = self._visitor(request)
        operation = self._requests.operation(request, visitor).begin()
        try:
            response = await cast("Awaitable[HttpResponseBase]", self._respond(request))
        except BaseException as error:
            operation.end_with(error)
            raise
        return _end_with_response(operation, response, visitor)


def _end_with_response(
    operation: Operation, response: HttpResponseBase, visitor: Visitor | None
) -> HttpResponseBase:
    """End the operation now, or when a streaming response ends."""
    if visitor is not None and (cookie := visitor.new_cookie()) is not None:
        response.cookies.load(cookie)
    if response.status_code >= 500:
        operation.fail()
    if not isinstance(response, StreamingHttpResponse) or isinstance(response, FileResponse):
        operation.end()
        return response
    content: Any = response.streaming_content
    pieces = _async_pieces if response.is_async else _pieces
    response.streaming_content = pieces(content, operation)
    # Django calls these when it closes the response; a second end does nothing.
    closers: list[Callable[[], None]] = response._resource_closers
    closers.append(operation.interrupt)
    return response


def _pieces(content: Iterable[bytes], operation: Operation) -> Iterator[bytes]:
    try:
        yield from content
    except GeneratorExit:
        raise  # Django reads no more of it, and closes the response
    except BaseException as error:
        operation.end_with(error)
        raise
    operation.end()


async def _async_pieces(
    content: AsyncIterable[bytes], operation: Operation
) -> AsyncIterator[bytes]:
    try:
        async for piece in content:
            yield piece
    except GeneratorExit:
        raise  # Django reads no more of it, and closes the response
    except BaseException as error:
        operation.end_with(error)
        raise
    operation.end()


def _load(value: Any) -> Any:
    return import_string(value) if isinstance(value, str) else value
