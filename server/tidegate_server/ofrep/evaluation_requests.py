"""Reading the body of a request for evaluations."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Request
from tidegate.context import NOBODY, Context
from werkzeug.exceptions import HTTPException

from tidegate_server.documents.strict_schema import BODY_LIMIT
from tidegate_server.errors import InvalidEvaluationRequest, Unreadable
from tidegate_server.ofrep.signed_contexts import INVALID_CONTEXT, NO_SIGNATURE, take_signature
from tidegate_server.strict_text import parse_context_json
from tidegate_server.web.request_bodies import read_bytes, read_text

PARSE_ERROR = "PARSE_ERROR"
TARGETING_KEY_MISSING = "TARGETING_KEY_MISSING"
TARGETING_KEY = "targetingKey"


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """A request for evaluations.

    Attributes:
        context: the evaluation context; empty if the body has none.
        body: the whole body; it may have further fields.
        signature: the signature of the targeting key; empty: there is none.
    """

    context: Context
    body: Mapping[str, Any]
    signature: str = NO_SIGNATURE


def read_evaluation_request(request: Request) -> EvaluationRequest:
    """Read a request's body.

    Raises:
        InvalidEvaluationRequest: the body is not JSON, or its context is invalid.
    """
    body = _body(request)
    context, signature = _context(body)
    return EvaluationRequest(context, body, signature)


def body_digest(request: Request) -> bytes:
    """Return a digest of a request's body, without parsing it.

    Raises:
        InvalidEvaluationRequest: the body is too long.
    """
    return hashlib.blake2b(_bytes(request), digest_size=16).digest()


def _body(request: Request) -> Mapping[str, Any]:
    if not _bytes(request):
        return {}
    try:
        text, _ = read_text(request, limit=BODY_LIMIT)
        body = parse_context_json(text, "The body")
    except HTTPException as error:
        raise InvalidEvaluationRequest(PARSE_ERROR, str(error.description)) from None
    except Unreadable as error:
        raise InvalidEvaluationRequest(PARSE_ERROR, error.message) from None
    if not isinstance(body, Mapping):
        raise InvalidEvaluationRequest(
            PARSE_ERROR, 'The body must be an object: {"context": {...}}.'
        )
    return body


def _bytes(request: Request) -> bytes:
    """Return the raw body, cached so that it can be read again."""
    try:
        return read_bytes(request, BODY_LIMIT)
    except HTTPException as error:
        raise InvalidEvaluationRequest(PARSE_ERROR, str(error.description)) from None


def _context(body: Mapping[str, Any]) -> tuple[Context, str]:
    attributes = body.get("context")
    if attributes is None and "context" not in body:
        return NOBODY, NO_SIGNATURE
    if not isinstance(attributes, Mapping):
        raise InvalidEvaluationRequest(
            INVALID_CONTEXT, "The context must be an object of attributes."
        )
    key = attributes.get(TARGETING_KEY)
    if key is not None and not isinstance(key, str):
        raise InvalidEvaluationRequest(
            INVALID_CONTEXT, f"The context's {TARGETING_KEY} must be text."
        )
    attributes, signature = take_signature(attributes)
    return Context.of(attributes), signature
