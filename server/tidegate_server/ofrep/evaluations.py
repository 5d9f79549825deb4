"""Answers of OpenFeature's remote evaluation protocol: one flag, or all that one may ask."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from http import HTTPStatus

from tidegate.evaluation.results import Evaluation

from tidegate_server.ofrep.evaluation_requests import Question
from tidegate_server.ofrep.flag_views import View, failure

FLAG_NOT_FOUND = "FLAG_NOT_FOUND"

MOST_ETAGS = 5_000
"""How many bulk answers of one version are known again without evaluating anything."""


@dataclass(frozen=True, slots=True)
class SingleAnswer:
    """What a flag gives: the protocol's body, and what it counts for."""

    status: HTTPStatus
    body: bytes
    exposed: tuple[Evaluation, ...]


@dataclass(frozen=True, slots=True)
class BulkAnswer:
    """What all flags give: the list of flags as JSON, and what they count for."""

    flags: bytes
    exposed: tuple[Evaluation, ...]


def evaluate(view: View, key: str, question: Question) -> SingleAnswer:
    """Evaluate one flag; one that the audience may not know is not found."""
    served = view.flags.get(key)
    if served is None:
        body = failure(key, FLAG_NOT_FOUND, f"There is no flag {key[:200]!r} here.")
        return SingleAnswer(HTTPStatus.NOT_FOUND, body, ())
    answer, body = served.ask(question.context)
    status = HTTPStatus.OK if answer.error_code is None else HTTPStatus.BAD_REQUEST
    return SingleAnswer(status, body, (answer,) if answer.exposures else ())


def evaluate_all(view: View, question: Question) -> BulkAnswer:
    """Evaluate every flag that the audience may know."""
    context = question.context
    exposed: list[Evaluation] = []
    parts: list[bytes] = []
    for served in view.flags.values():
        answer, written = served.ask(context)
        parts.append(written)
        if answer.exposures:
            exposed.append(answer)
    return BulkAnswer(b"[" + b",".join(parts) + b"]", tuple(exposed))


def known_etag(view: View, asked: bytes) -> str | None:
    """The ETag of an answer that was given from this view before; None when there is none.

    Args:
        view: the flags.
        asked: what tells the question, and whatever else the answer depends on, from others.
    """
    return view.etags.get(asked)


def etag_of(view: View, asked: bytes, given: BulkAnswer) -> str:
    """The ETag of an answer: of what was asked, and of what every flag gives."""
    etag = hashlib.blake2b(asked + given.flags, digest_size=12).hexdigest()
    if len(view.etags) >= MOST_ETAGS:
        view.etags.clear()
    view.etags[asked] = etag
    return etag
