"""Reading request bodies: JSON, or YAML where an operation allows it.

A body has a limit for its kind of document. A large one is parsed and validated in another
process, because meanwhile this one would serve nobody else.
"""

from __future__ import annotations

import io
import zlib
from typing import Any
from wsgiref.types import WSGIEnvironment

from flask import Request, g
from marshmallow import Schema, ValidationError
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType

from tidegate_server.documents.json_pointers import problems
from tidegate_server.documents.strict_schema import BODY_LIMIT
from tidegate_server.errors import Invalid, Unreadable
from tidegate_server.strict_text import parse_json, parse_yaml
from tidegate_server.web.computations import Computations

JSON = "application/json"
YAML = "application/yaml"
YAML_TYPES = frozenset({YAML, "application/x-yaml", "text/yaml"})

GZIP_MAGIC = b"\x1f\x8b"

YAML_LIMIT = 64 * 1024
LARGE_BODY = 24 * 1024
"""Larger bodies, in bytes, are parsed in another process."""


def read_text(request: Request, *, limit: int, allow_yaml: bool = False) -> tuple[str, bool]:
    """Return the text of a request's body, and whether it is YAML.

    Raises:
        UnsupportedMediaType: the content type is neither JSON nor allowed YAML.
        BadRequest: the body is not UTF-8.
        RequestEntityTooLarge: the body is longer than ``limit``, or as YAML than ``YAML_LIMIT``.
    """
    content_type = request.mimetype
    if content_type != JSON and not (allow_yaml and content_type in YAML_TYPES):
        accepted = f"{JSON} or {YAML}" if allow_yaml else JSON
        raise UnsupportedMediaType(
            f"Send the body as Content-Type: {accepted}; the Content-Type is "
            f"{content_type or 'missing'}."
        )
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("Send the body without a Content-Encoding.")
    is_yaml = content_type != JSON
    data = read_bytes(request, min(limit, YAML_LIMIT) if is_yaml else limit)
    try:
        return data.decode(), is_yaml
    except UnicodeDecodeError as error:
        raise BadRequest(f"The body is not UTF-8: byte {error.start} is invalid.") from None


def read_bytes(request: Request, limit: int) -> bytes:
    """Return a request's body, and keep it to be read again.

    Raises:
        RequestEntityTooLarge: the body is longer than ``limit``.
    """
    request.max_content_length = limit
    try:
        data = request.get_data()
    except RequestEntityTooLarge:
        data = None
    # A test client or a middleware may have read it under another limit.
    if data is None or len(data) > limit:
        raise RequestEntityTooLarge(
            f"The body is too long: at most {limit // 1024} kB are allowed here."
        )
    return data


def uncompressed_length(compressed: bytes, *, limit: int) -> int:
    """Return how long a body that is compressed with gzip says to be uncompressed, in bytes.

    The last four bytes of a gzip file say so (RFC 1952, ISIZE); ``decompress`` checks it.

    Raises:
        BadRequest: it is not gzip.
        RequestEntityTooLarge: it is longer than ``limit``.
    """
    if not compressed.startswith(GZIP_MAGIC):
        raise BadRequest("The body is not gzip, as its Content-Encoding says.")
    length = int.from_bytes(compressed[-4:], "little")
    if length > limit:
        raise RequestEntityTooLarge(
            f"The body is too long: at most {limit // 1024} kB are allowed here, uncompressed. It "
            "also has to be one whole gzip file, whose end says how long it is."
        )
    return length


def decompress(compressed: bytes, length: int) -> bytes:
    """Return a body that is compressed with gzip as it was before.

    Raises:
        BadRequest: it is not one whole gzip file, or not as long as it says.
    """
    decoder = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        body = decoder.decompress(compressed, length + 1)
    except zlib.error:
        body = b""
    if len(body) != length or not decoder.eof or decoder.unused_data:
        raise BadRequest("The body has to be one whole gzip file.")
    return body


def replace_body(environ: WSGIEnvironment, body: bytes) -> None:
    """Give a request another body, which is not compressed."""
    environ.pop("HTTP_CONTENT_ENCODING", None)
    environ["CONTENT_LENGTH"] = str(len(body))
    environ["wsgi.input"] = io.BytesIO(body)


def is_gzip(request: Request) -> bool:
    """Return whether a request says that its body is compressed with gzip."""
    return request.headers.get("Content-Encoding", "").lower() == "gzip"


def read_body(request: Request, *, limit: int = BODY_LIMIT, allow_yaml: bool = False) -> Any:
    """Return the value in a request's body.

    Raises:
        BadRequest: the text is malformed or ambiguous, such as with a repeated key.
        UnsupportedMediaType, RequestEntityTooLarge: as ``read_text`` raises them.
    """
    text, is_yaml = read_text(request, limit=limit, allow_yaml=allow_yaml)
    try:
        return _parse(text, is_yaml)
    except Unreadable as error:
        raise BadRequest(error.message) from None


def load_body(request: Request, schema: Schema, large_bodies: Computations, *, limit: int) -> Any:
    """Return what a schema builds from a request's body.

    Raises:
        Invalid: the schema finds problems; has each with its pointer.
        RateLimited, Overloaded: as ``large_bodies`` raises them.
        BadRequest, UnsupportedMediaType, RequestEntityTooLarge: as ``read_body`` raises them.
    """
    if getattr(schema, "body_optional", False) and not read_bytes(request, limit):
        return load_text(type(schema), "{}", False)
    allow_yaml = getattr(schema, "allow_yaml", False)
    text, is_yaml = read_text(request, limit=limit, allow_yaml=allow_yaml)
    try:
        if len(text) <= LARGE_BODY:
            return load_text(type(schema), text, is_yaml)
        known = g.get("caller")
        caller = known.id if known is not None else request.remote_addr or ""
        return large_bodies.run(caller, load_text, type(schema), text, is_yaml)
    except Unreadable as error:
        raise BadRequest(error.message) from None


def load_text(schema: type[Schema], text: str, is_yaml: bool) -> Any:
    """Return what a schema builds from a text.

    Raises:
        Unreadable: the text is malformed or ambiguous.
        Invalid: the schema finds problems; has each with its pointer.
    """
    value = _parse(text, is_yaml)
    try:
        return schema().load(value)
    except ValidationError as error:
        raise invalid(error.messages) from None


def schema_limit(schema: Schema) -> int:
    """Return the largest body, in bytes, for a schema."""
    limit: int = getattr(schema, "body_limit", BODY_LIMIT)
    return limit


def invalid(messages: Any) -> Invalid:
    """Return the error with every problem in a schema's messages."""
    found = list(problems(messages))
    first = found[0]
    pointer = first.pointer or "the body"
    more = f" ({len(found) - 1} more in errors.)" if len(found) > 1 else ""
    return Invalid(f"Nothing was changed. {pointer}: {first.detail}{more}", *found)


def _parse(text: str, is_yaml: bool) -> Any:
    return (parse_yaml if is_yaml else parse_json)(text, "The body")
