"""Responses: a document with its ETag, a page of a list, a plain value, no content."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from flask import Response, json, url_for
from marshmallow import Schema

from tidegate_server.web.etags import revision_etag, with_content_etag, with_etag
from tidegate_server.web.request_bodies import JSON

_schemas: dict[type[Schema], Schema] = {}
"""A schema of each class, for all requests of the process; nothing changes it."""


def document(
    schema: Schema,
    value: Any,
    revision: int,
    *,
    suffix: str = "",
    status: HTTPStatus = HTTPStatus.OK,
    headers: dict[str, str] | None = None,
) -> Response:
    """Return a document with its revision as ETag.

    ``suffix`` distinguishes responses of one revision that show more than the document.
    """
    response = _json(_dumped(schema, value), status)
    response.headers.update(headers or {})
    return with_etag(response, revision_etag(revision, suffix))


def created(schema: Schema, value: Any, revision: int, endpoint: str, **path: str) -> Response:
    """Return 201 with the new document and its address."""
    values: dict[str, Any] = {**path}
    return document(
        schema,
        value,
        revision,
        status=HTTPStatus.CREATED,
        headers={"Location": url_for(endpoint, **values)},
    )


def page(schema: Schema, items: Sequence[Any], next_cursor: str | None, **more: Any) -> Response:
    """Return a page of a list, with more about it and a hash of its content as ETag."""
    return value_with_etag(schema, {"items": items, "next_cursor": next_cursor, **more})


def value(schema: Schema, content: Any) -> Response:
    """Return a value without an ETag."""
    return _json(_dumped(schema, content), HTTPStatus.OK)


def value_with_etag(schema: Schema, content: Any) -> Response:
    """Return a value with a hash of its content as ETag."""
    return with_content_etag(value(schema, content))


def no_content() -> Response:
    """Return 204."""
    return Response(status=HTTPStatus.NO_CONTENT)


def _dumped(schema: Schema, content: Any) -> Any:
    """Dump with the first schema of its class: a new one makes those nested in it again."""
    return _schemas.setdefault(type(schema), schema).dump(content)


def _json(content: Any, status: HTTPStatus) -> Response:
    return Response(json.dumps(content), status=status, content_type=JSON)
