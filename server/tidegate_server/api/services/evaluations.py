"""Answers of OpenFeature's remote evaluation protocol: one flag, or all that one may ask."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from tidegate.evaluation import Evaluation

from tidegate_server.api.services.questions import Question
from tidegate_server.api.services.views import View, failure

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


def etag_of(view: View, question: Question, scope: str, answer: Callable[[], BulkAnswer]) -> str:
    """The ETag of a bulk answer: of what was asked, and of what every flag gives.

    Args:
        view: the flags.
        question: what was asked.
        scope: whatever else tells answers apart.
        answer: evaluates; called only when this question was not asked of this view before.
    """
    asked = question.digest + scope.encode()
    etag = view.etags.get(asked)
    if etag is None:
        digest = hashlib.blake2b(asked, digest_size=12)
        digest.update(answer().flags)
        etag = digest.hexdigest()
        if len(view.etags) >= MOST_ETAGS:
            view.etags.clear()
        view.etags[asked] = etag
    return etag
