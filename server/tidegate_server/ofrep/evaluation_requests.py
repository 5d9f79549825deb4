"""What a request for evaluations asks, and for whom."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Request
from tidegate.context import NOBODY, Context
from werkzeug.exceptions import HTTPException

from tidegate_server.web.request_bodies import read_body

PARSE_ERROR = "PARSE_ERROR"
INVALID_CONTEXT = "INVALID_CONTEXT"
TARGETING_KEY_MISSING = "TARGETING_KEY_MISSING"
TARGETING_KEY = "targetingKey"


class NotAsked(Exception):
    """A request from which no question can be read; ``code`` is OpenFeature's error code."""

    def __init__(self, code: str, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


@dataclass(frozen=True, slots=True)
class Question:
    """Whom a request is about.

    Attributes:
        context: the evaluation context; nobody's when the request names none.
        said: the body; fields that are not known may be there for others.
    """

    context: Context
    said: Mapping[str, Any]


def read_question(request: Request) -> Question:
    """Read a request's body.

    Raises:
        NotAsked: it is not JSON, or its context is not one.
    """
    said = _body(request)
    return Question(_context(said), said)


def digest_of(request: Request) -> bytes:
    """What tells a request's body from others, without reading it.

    Raises:
        NotAsked: it is longer than the server reads.
    """
    return hashlib.blake2b(_bytes(request), digest_size=16).digest()


def _body(request: Request) -> Mapping[str, Any]:
    if not _bytes(request):
        return {}
    try:
        said = read_body(request)
    except HTTPException as error:
        raise NotAsked(PARSE_ERROR, str(error.description)) from None
    if not isinstance(said, Mapping):
        raise NotAsked(PARSE_ERROR, 'The body must be an object: {"context": {...}}.')
    return said


def _bytes(request: Request) -> bytes:
    """The body, which is kept for whoever reads it next."""
    try:
        return request.get_data()
    except HTTPException as error:
        raise NotAsked(PARSE_ERROR, str(error.description)) from None


def _context(said: Mapping[str, Any]) -> Context:
    given = said.get("context")
    if given is None and "context" not in said:
        return NOBODY
    if not isinstance(given, Mapping):
        raise NotAsked(INVALID_CONTEXT, "The context must be an object of attributes.")
    key = given.get(TARGETING_KEY)
    if key is not None and not isinstance(key, str):
        raise NotAsked(INVALID_CONTEXT, f"The context's {TARGETING_KEY} must be text.")
    return Context.of(given)
