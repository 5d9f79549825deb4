"""Values as responses: a document with its ETag, a page of a list, nothing."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from flask import Response, json, url_for
from marshmallow import Schema

from tidegate_server.web.etags import etag, hashed, tagged
from tidegate_server.web.request_bodies import JSON


def of_document(
    schema: Schema,
    value: Any,
    revision: int,
    *,
    more: str = "",
    status: HTTPStatus = HTTPStatus.OK,
    headers: dict[str, str] | None = None,
) -> Response:
    """One document under its revision; ``more`` tells answers of one revision apart."""
    response = _json(schema.dump(value), status)
    response.headers.update(headers or {})
    return tagged(response, etag(revision, more))


def created(schema: Schema, value: Any, revision: int, endpoint: str, **path: str) -> Response:
    """201 with the address of the new document."""
    values: dict[str, Any] = {**path}
    return of_document(
        schema,
        value,
        revision,
        status=HTTPStatus.CREATED,
        headers={"Location": url_for(endpoint, **values)},
    )


def of_page(schema: Schema, items: Sequence[Any], next_cursor: str | None) -> Response:
    """A page of a list, tagged by its content."""
    page = {"items": items, "next_cursor": next_cursor}
    return hashed(_json(schema.dump(page), HTTPStatus.OK))


def of_value(schema: Schema, value: Any) -> Response:
    """A value that has no revision."""
    return _json(schema.dump(value), HTTPStatus.OK)


def of_computed(schema: Schema, value: Any) -> Response:
    """A value that was computed for the asker, tagged by its content."""
    return hashed(_json(schema.dump(value), HTTPStatus.OK))


def nothing() -> Response:
    """204: done, and there is nothing to say."""
    return Response(status=HTTPStatus.NO_CONTENT)


def _json(value: Any, status: HTTPStatus) -> Response:
    return Response(json.dumps(value), status=status, content_type=JSON)
