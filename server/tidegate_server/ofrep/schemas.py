"""The remote evaluation protocol's bodies: how they are written, and how they are documented.

They are JSON Schemas rather than marshmallow's, because the protocol is open where our own
documents are strict: unknown fields pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tidegate_server.ofrep.outcomes import LONGEST_MS, MOST_FLAGS, MOST_VALUES, OUTCOMES
from tidegate_server.web.problem_documents import MEDIA_TYPE
from tidegate_server.web.request_bodies import JSON

_encode = msgspec.json.Encoder().encode

Schema = Mapping[str, Any]


def counted(flags: Sequence[str]) -> bytes:
    """The answer to an outcome."""
    return _encode({"counted": flags})


def event_streams(url: str, inactivity_seconds: int) -> bytes:
    """What a bulk answer says of the stream."""
    return _encode([{"type": "sse", "url": url, "inactivityDelaySec": inactivity_seconds}])


def failed(key: str | None, code: str, details: str) -> bytes:
    """A failure; with the flag's key where one flag was asked."""
    said = {"errorCode": code, "errorDetails": details}
    return _encode(said if key is None else {"key": key, **said})


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
            "description": "absent: the default in the code of who asks",
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
_STREAM_OF_EVENTS = _object(
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
        "eventStreams": {"type": "array", "items": _STREAM_OF_EVENTS},
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
            "maxProperties": MOST_FLAGS,
            "additionalProperties": _TEXT,
        },
        "outcome": {"enum": list(OUTCOMES)},
        "duration_ms": {"type": "number", "minimum": 0, "maximum": LONGEST_MS},
        "values": {
            "type": "object",
            "description": "numbers that a policy's custom checks compare, by name",
            "maxProperties": MOST_VALUES,
            "additionalProperties": {"type": "number"},
        },
    },
    *("context", "flags", "outcome"),
)
_COUNTED = _object(
    {
        "counted": {
            "type": "array",
            "description": "the flags whose release counted it",
            "items": _TEXT,
        }
    },
    "counted",
)

_NOTICE = _object(
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


def _answer(description: str, schema: Schema | None = None, headers: Schema | None = None) -> Any:
    said: dict[str, Any] = {"description": description}
    if schema is not None:
        said["content"] = {JSON: {"schema": schema}}
    if headers is not None:
        said["headers"] = headers
    return said


def _problem(description: str, headers: Schema | None = None) -> Any:
    schema = {"$ref": "#/components/schemas/Problem"}
    return _answer(description, None, headers) | {"content": {MEDIA_TYPE: {"schema": schema}}}


_REFUSALS: Mapping[str, Any] = {
    "401": _problem("No token, or one that is not known"),
    "403": _problem("A token that may not ask for evaluations"),
    "429": _problem("More requests than the token may make", _RETRY_AFTER),
}


def _body(schema: Schema, required: bool) -> Any:
    return {"required": required, "content": {JSON: {"schema": schema}}}


_AFTER_A_NOTICE: Sequence[Any] = [
    {
        "in": "query",
        "name": name,
        "description": f"`{field}` of the notice that made the client ask again",
        "schema": _TEXT,
    }
    for name, field in (("flagConfigEtag", "etag"), ("flagConfigLastModified", "lastModified"))
]

SINGLE: Mapping[str, Any] = {
    "security": _SECURITY,
    "parameters": _AFTER_A_NOTICE,
    "requestBody": _body(_REQUEST, required=False),
    "responses": {
        "200": _answer("What the flag gives", _SUCCESS),
        "400": _answer("No answer for this context, or not a context", _FAILURE),
        "404": _answer("No such flag, or none for this token", _NOT_FOUND),
        "500": _answer("A fault of the server", _FAILURE),
        **_REFUSALS,
    },
}

BULK: Mapping[str, Any] = {
    "security": _SECURITY,
    "parameters": [
        {"in": "header", "name": "If-None-Match", "schema": _TEXT},
        *_AFTER_A_NOTICE,
    ],
    "requestBody": _body(_REQUEST, required=False),
    "responses": {
        "200": _answer("What every flag gives", _BULK_SUCCESS, _ETAG),
        "304": _answer("The same as under the ETag in If-None-Match", None, _ETAG),
        "400": _answer("Not a context", _BULK_FAILURE),
        "500": _answer("A fault of the server", _BULK_FAILURE),
        **_REFUSALS,
    },
}

TRACK: Mapping[str, Any] = {
    "security": _SECURITY,
    "requestBody": _body(_OUTCOME, required=True),
    "responses": {
        "202": _answer("Counted with the next report", _COUNTED),
        "400": _answer("Not an outcome", _BULK_FAILURE),
        "500": _answer("A fault of the server", _BULK_FAILURE),
        **_REFUSALS,
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
            "description": "Events as long as the client listens",
            "content": {"text/event-stream": {"schema": _NOTICE}},
        },
        "500": _answer("A fault of the server", _BULK_FAILURE),
        **_REFUSALS,
    },
}
