"""Reading request bodies: JSON, or YAML where an operation allows it."""

from __future__ import annotations

from typing import Any

from flask import Request
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

from tidegate_server.errors import Unreadable
from tidegate_server.strict_text import parse_json, parse_yaml

JSON = "application/json"
YAML = "application/yaml"
YAML_TYPES = frozenset({YAML, "application/x-yaml", "text/yaml"})


def read_body(request: Request, *, allow_yaml: bool = False) -> Any:
    """Return the value in a request's body.

    Raises:
        UnsupportedMediaType: the content type is neither JSON nor allowed YAML.
        BadRequest: the text is malformed or ambiguous, such as with a repeated key.
        RequestEntityTooLarge: the body is longer than the application allows.
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
    try:
        text = request.get_data(cache=False).decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"The body is not UTF-8: byte {error.start} is invalid.") from None
    parse = parse_json if content_type == JSON else parse_yaml
    try:
        return parse(text, "The body")
    except Unreadable as error:
        raise BadRequest(error.message) from None
