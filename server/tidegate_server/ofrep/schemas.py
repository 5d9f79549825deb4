"""The OpenAPI descriptions of the remote evaluation protocol.

They are JSON Schemas, not marshmallow schemas: the protocol allows unknown fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tidegate_server.ofrep.outcomes import MAX_DURATION_MS, MAX_FLAGS, MAX_VALUES, OUTCOMES
from tidegate_server.web.event_stream import CONTENT_TYPE
from tidegate_server.web.problem_documents import MEDIA_TYPE
from tidegate_server.web.request_bodies import JSON

Schema = Mapping[str, Any]


def _object(properties: Mapping[str, Schema], *required: str, **more: Any) -> Schema:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        **more,
    }


_TEXT: Schema = {"type": "string"}
_SCALAR: Schema = {"type": ["boolean", "string", "number"]}
_CONTEXT = _object({"targetingKey": {"type": ["string", "null"]}})
_REQUEST = _object({"context": _CONTEXT})

_SUCCESS = _object(
    {
        "key": _TEXT,
        "value": {
            "type": ["boolean", "string", "number", "object", "array"],
            "description": "if absent, use the default in your code",
        },
        "reason": _TEXT,
        "variant": _TEXT,
        "metadata": {"type": "object", "additionalProperties": _SCALAR},
    },
    *("key", "reason", "variant", "metadata"),
)
_FAILURE = _object(
    {
        "key": _TEXT,
        "errorCode": {
            "enum": ["PARSE_ERROR", "TARGETING_KEY_MISSING", "INVALID_CONTEXT", "GENERAL"]
        },
        "errorDetails": _TEXT,
    },
    *("key", "errorCode"),
)
_BULK_FAILURE = _object({"errorCode": _TEXT, "errorDetails": _TEXT}, "errorCode")
_NOT_FOUND = _object(
    {"key": _TEXT, "errorCode": {"const": "FLAG_NOT_FOUND"}, "errorDetails": _TEXT},
    *("key", "errorCode"),
)
_EVENT_STREAM = _object(
    {
        "type": {"const": "sse"},
        "url": {"type": "string", "format": "uri"},
        "inactivityDelaySec": {"type": "integer", "minimum": 1},
    },
    *("type", "url"),
)
_BULK_SUCCESS = _object(
    {
        "flags": {"type": "array", "items": {"anyOf": [_SUCCESS, _FAILURE]}},
        "eventStreams": {"type": "array", "items": _EVENT_STREAM},
    },
    "flags",
)
_OUTCOME = _object(
    {
        "context": _object({"targetingKey": {"type": "string", "minLength": 1}}, "targetingKey"),
        "flags": {
            "type": "object",
            "description": "the variant that each flag gave",
            "minProperties": 1,
            "maxProperties": MAX_FLAGS,
            "additionalProperties": _TEXT,
        },
        "outcome": {"enum": list(OUTCOMES)},
        "duration_ms": {"type": "number", "minimum": 0, "maximum": MAX_DURATION_MS},
        "values": {
            "type": "object",
            "description": "numbers for a policy's custom checks, by name",
            "maxProperties": MAX_VALUES,
            "additionalProperties": {"type": "number"},
        },
    },
    *("context", "flags", "outcome"),
)
_COUNTED = _object(
    {
        "counted": {
            "type": "array",
            "description": "the flags whose release counts the outcome",
            "items": _TEXT,
        }
    },
    "counted",
)

_CHANGE_EVENT = _object(
    {
        "id": {"type": "string", "pattern": "^[0-9]+$"},
        "event": {"const": "message"},
        "data": {
            "type": "string",
            "contentMediaType": JSON,
            "description": "`type`: `refetchEvaluation`, `etag`, `lastModified`",
        },
        "retry": {"type": "integer"},
    },
)

_ETAG: Schema = {"ETag": {"schema": _TEXT}}
_RETRY_AFTER: Schema = {
    "Retry-After": {"description": "seconds", "schema": {"type": "string", "pattern": "^[0-9]+$"}}
}
_SECURITY: Sequence[Schema] = [{"bearer": []}, {"apiKey": []}]


def _response(description: str, schema: Schema | None = None, headers: Schema | None = None) -> Any:
    response: dict[str, Any] = {"description": description}
    if schema is not None:
        response["content"] = {JSON: {"schema": schema}}
    if headers is not None:
        response["headers"] = headers
    return response


def _problem(description: str, headers: Schema | None = None) -> Any:
    schema = {"$ref": "#/components/schemas/Problem"}
    return _response(description, None, headers) | {"content": {MEDIA_TYPE: {"schema": schema}}}


def _response_or_problem(description: str, schema: Schema) -> Any:
    """Return a response with the protocol's body, or a problem document if no route matches."""
    content = _response(description, schema)["content"] | _problem(description)["content"]
    return {"description": description, "content": content}


_ERRORS: Mapping[str, Any] = {
    "401": _problem("No token, or an unknown one"),
    "403": _problem("A token that may not evaluate flags"),
    "429": _problem("Too many requests with this token", _RETRY_AFTER),
}


def _body(schema: Schema, required: bool) -> Any:
    return {"required": required, "content": {JSON: {"schema": schema}}}


_CHANGE_PARAMETERS: Sequence[Any] = [
    {
        "in": "query",
        "name": name,
        "description": f"`{field}` of the event that made the client evaluate again",
        "schema": _TEXT,
    }
    for name, field in (("flagConfigEtag", "etag"), ("flagConfigLastModified", "lastModified"))
]

SINGLE: Mapping[str, Any] = {
    "security": _SECURITY,
    "parameters": _CHANGE_PARAMETERS,
    "requestBody": _body(_REQUEST, required=False),
    "responses": {
        "200": _response("The evaluation of the flag", _SUCCESS),
        "400": _response("The flag cannot be evaluated, or the context is invalid", _FAILURE),
        "404": _response_or_problem("No such flag, or not visible to this token", _NOT_FOUND),
        "500": _response("Server error", _FAILURE),
        **_ERRORS,
    },
}

BULK: Mapping[str, Any] = {
    "security": _SECURITY,
    "parameters": [
        {"in": "header", "name": "If-None-Match", "schema": _TEXT},
        *_CHANGE_PARAMETERS,
    ],
    "requestBody": _body(_REQUEST, required=False),
    "responses": {
        "200": _response("The evaluations of all flags", _BULK_SUCCESS, _ETAG),
        "304": _response("Unchanged since the ETag in If-None-Match", None, _ETAG),
        "400": _response("The context is invalid", _BULK_FAILURE),
        "500": _response("Server error", _BULK_FAILURE),
        **_ERRORS,
    },
}

TRACK: Mapping[str, Any] = {
    "security": _SECURITY,
    "requestBody": _body(_OUTCOME, required=True),
    "responses": {
        "202": _response("Counted with the next report", _COUNTED),
        "400": _response("The outcome is invalid", _BULK_FAILURE),
        "500": _response("Server error", _BULK_FAILURE),
        **_ERRORS,
    },
}

STREAM: Mapping[str, Any] = {
    "security": [],
    "parameters": [
        {"in": "query", "name": "credential", "required": True, "schema": _TEXT},
        {"in": "header", "name": "Last-Event-ID", "schema": _TEXT},
    ],
    "responses": {
        "200": {
            "description": "A stream of events",
            "content": {CONTENT_TYPE: {"schema": _CHANGE_EVENT}},
        },
        "500": _response("Server error", _BULK_FAILURE),
        **_ERRORS,
    },
}
