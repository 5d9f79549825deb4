"""The OpenAPI document, generated from the schemas that validate requests and responses."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import flask_smorest
from flask import Flask
from marshmallow import fields as ma
from marshmallow import validate
from tidegate.evaluation import operators
from tidegate.version import VERSION

from tidegate_server.documents import fields
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.web import problem_documents
from tidegate_server.web.session_cookies import CSRF_HEADER, PLAIN_COOKIE, SECURE_COOKIE

OPENAPI_VERSION = "3.1.0"

DESCRIPTION = (
    "Releases that open while they are healthy and roll back automatically. Every response has an "
    "ETag; send it back as If-Match in updates. Errors are problem documents (RFC 9457)."
)


class FieldProblemSchema(Strict):
    """A problem with one field."""

    pointer = ma.String(required=True, metadata={"description": "JSON pointer of the field"})
    detail = ma.String(required=True)


class ProblemSchema(Strict):
    """An error (RFC 9457)."""

    type = ma.String(required=True, metadata={"description": "the stable name of the error"})
    title = ma.String(required=True)
    status = ma.Integer(required=True, validate=validate.Range(min=400, max=599))
    detail = ma.String(required=True, metadata={"description": "what is wrong and how to fix it"})
    errors = ma.List(ma.Nested(FieldProblemSchema), required=True)
    suggestions = ma.List(
        ma.String(),
        required=True,
        metadata={"description": "names that exist and may have been meant"},
    )
    request_id = ma.String(required=True)


class Api(flask_smorest.Api):  # type: ignore[misc] # the library has no types
    """The API of flask-smorest, with this project's problem documents."""

    ERROR_SCHEMA = ProblemSchema

    def _register_error_handlers(self) -> None:
        problem_documents.register_error_handlers(self._app)

    def _register_responses(self) -> None:
        schema = self.ma_plugin.resolver.resolve_schema_dict(ProblemSchema)
        for status in HTTPStatus:
            response: dict[str, Any] = {"description": problem_documents.reason_phrase(status)}
            if status >= HTTPStatus.BAD_REQUEST:
                response["content"] = {problem_documents.MEDIA_TYPE: {"schema": schema}}
            self.spec.components.response(status.name, response, lazy=True)
        response = {
            "description": "An error",
            "content": {problem_documents.MEDIA_TYPE: {"schema": schema}},
        }
        self.spec.components.response(self.DEFAULT_ERROR_RESPONSE_NAME, response, lazy=True)


def condition_property(self: Any, field: ma.Field[Any], **_: Any) -> dict[str, Any]:
    """Return a reference to the schema of conditions for a condition field (apispec hook)."""
    if not isinstance(field, fields.ConditionField):
        return {}
    reference = {"$ref": "#/components/schemas/Condition"}
    return {"anyOf": [reference, {"type": "null"}]} if field.allow_none else reference


def duration_property(self: Any, field: ma.Field[Any], **_: Any) -> dict[str, Any]:
    """Return the pattern of a duration field (apispec hook)."""
    if not isinstance(field, fields.Duration):
        return {}
    return {
        "type": ["string", "null"] if field.allow_none else "string",
        "pattern": f"^{fields.DURATION.pattern}$",
        "examples": ["90s", "15m"],
    }


def instant_property(self: Any, field: ma.Field[Any], **_: Any) -> dict[str, Any]:
    """Return the format of an instant field (apispec hook)."""
    if not isinstance(field, fields.Instant):
        return {}
    return {"type": ["string", "null"] if field.allow_none else "string", "format": "date-time"}


def moment_property(self: Any, field: ma.Field[Any], **_: Any) -> dict[str, Any]:
    """Return the type of a time in a request (apispec hook)."""
    if not isinstance(field, fields.Moment):
        return {}
    return {"type": ["string", "null"] if field.allow_none else "string"}


def names_property(self: Any, field: ma.Field[Any], **_: Any) -> dict[str, Any]:
    """Return the pattern of a mapping's keys (apispec hook)."""
    names = field.metadata.get("propertyNames")
    return {} if names is None else {"propertyNames": names}


PROPERTIES = (
    condition_property,
    duration_property,
    instant_property,
    moment_property,
    names_property,
)
"""What describes the fields of this project to apispec."""


def with_overlapping_paths(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document that lists what a fixed path serves by a path with a key, too.

    A policy may have the key ``simulate``. Its address is that of the simulations then, which
    serves GET for the one and POST for the other.
    """
    paths: dict[str, dict[str, Any]] = document["paths"]
    for path, item in paths.items():
        for other, operations in paths.items():
            if path != other and _is_served_by(path, other):
                for method, operation in operations.items():
                    if method != "parameters":  # of a key that this path does not have
                        item.setdefault(method, operation)
    return document


def _is_served_by(path: str, other: str) -> bool:
    parts, others = path.split("/"), other.split("/")
    return len(parts) == len(others) and all(
        part == each or (each.startswith("{") and not part.startswith("{"))
        for part, each in zip(parts, others, strict=True)
    )


def document(app: Flask) -> Api:
    """Return an application's API, to which you register the blueprints."""
    app.config.update(
        API_TITLE="Tidegate",
        API_VERSION=VERSION,
        OPENAPI_VERSION=OPENAPI_VERSION,
        API_SPEC_OPTIONS={
            "info": {"description": DESCRIPTION, "license": {"name": "MIT", "identifier": "MIT"}},
        },
    )
    api = Api(app)
    for property_of in PROPERTIES:
        api.ma_plugin.converter.add_attribute_function(property_of)
    api.spec.components.schema("Condition", fields.condition_schema(sorted(operators.OPERATORS)))
    api.spec.components.security_scheme(
        "bearer",
        {"type": "http", "scheme": "bearer", "description": "a token, `tg_<role>_<id>_<secret>`"},
    )
    api.spec.components.security_scheme(
        "apiKey",
        {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "the token alone"},
    )
    api.spec.components.security_scheme(
        "session",
        {
            "type": "apiKey",
            "in": "cookie",
            "name": SECURE_COOKIE,
            "description": f"a session; a change needs the header {CSRF_HEADER}, too. Over plain "
            f"HTTP the cookie is {PLAIN_COOKIE}",
        },
    )
    for name, scheme in (("hookBearer", "bearer"), ("hookBasic", "basic")):
        api.spec.components.security_scheme(
            name, {"type": "http", "scheme": scheme, "description": "a hook's own secret"}
        )
    return api
