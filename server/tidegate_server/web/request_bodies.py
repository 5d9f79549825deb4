"""Request bodies: which kinds are welcome, and that each has one meaning."""

from __future__ import annotations

from typing import Any

from flask import Request
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

from tidegate_server.errors import Unreadable
from tidegate_server.strict_text import parse_json, parse_yaml

JSON = "application/json"
YAML = "application/yaml"
YAML_TYPES = frozenset({YAML, "application/x-yaml", "text/yaml"})


def read_body(request: Request, *, yaml_too: bool = False) -> Any:
    """The value that a request's body stands for.

    Raises:
        UnsupportedMediaType: the content type is not JSON (nor YAML, where that is welcome).
        BadRequest: the text is not well-formed, or has no single meaning.
        RequestEntityTooLarge: it is longer than the application allows.
    """
    content_type = request.mimetype
    if content_type != JSON and not (yaml_too and content_type in YAML_TYPES):
        accepted = f"{JSON} or {YAML}" if yaml_too else JSON
        raise UnsupportedMediaType(
            f"The body must be sent as Content-Type: {accepted}; this one is "
            f"{content_type or 'not named'}."
        )
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("The body must be sent without a Content-Encoding.")
    try:
        text = request.get_data(cache=False).decode()
    except UnicodeDecodeError as error:
        raise BadRequest(
            f"The body is not UTF-8: byte {error.start} begins no character."
        ) from None
    parse = parse_json if content_type == JSON else parse_yaml
    try:
        return parse(text, "The body")
    except Unreadable as error:
        raise BadRequest(error.message) from None
