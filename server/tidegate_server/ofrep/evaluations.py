"""Evaluating one flag, or all flags of an audience, for a request."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from http import HTTPStatus

from tidegate.context import Context
from tidegate.evaluation.results import Evaluation

from tidegate_server.ofrep.flag_views import FlagView
from tidegate_server.ofrep.response_bodies import failure_body

FLAG_NOT_FOUND = "FLAG_NOT_FOUND"

MAX_ETAGS = 5_000
"""How many ETags of bulk evaluations are kept for one version."""


@dataclass(frozen=True, slots=True)
class FlagEvaluation:
    """The response to a request for one flag, and the evaluations that count as exposures.

    ``variant`` is what was served; None: the application gets its own default. ``known`` says
    whether the audience may know the flag.
    """

    status: HTTPStatus
    body: bytes
    exposed: tuple[Evaluation, ...]
    variant: str | None = None
    known: bool = True


@dataclass(frozen=True, slots=True)
class BulkEvaluation:
    """The list of all flags as JSON, and the evaluations that count as exposures."""

    flags: bytes
    exposed: tuple[Evaluation, ...]


def evaluate_flag(view: FlagView, key: str, context: Context) -> FlagEvaluation:
    """Evaluate one flag; a flag that the audience may not know is not found."""
    flag = view.flags.get(key)
    if flag is None:
        detail = f"There is no flag {key[:200]!r} here, or it is archived."
        body = failure_body(key, FLAG_NOT_FOUND, detail)
        return FlagEvaluation(HTTPStatus.NOT_FOUND, body, (), known=False)
    evaluation, body = flag.evaluate(context)
    status = HTTPStatus.OK if evaluation.error_code is None else HTTPStatus.BAD_REQUEST
    exposed = (evaluation,) if evaluation.exposures else ()
    return FlagEvaluation(status, body, exposed, evaluation.variant)


def evaluate_all_flags(view: FlagView, context: Context) -> BulkEvaluation:
    """Evaluate every flag that the audience may know."""
    exposed: list[Evaluation] = []
    bodies: list[bytes] = []
    for flag in view.flags.values():
        evaluation, body = flag.evaluate(context)
        bodies.append(body)
        if evaluation.exposures:
            exposed.append(evaluation)
    return BulkEvaluation(b"[" + b",".join(bodies) + b"]", tuple(exposed))


def cached_etag(view: FlagView, request_key: bytes) -> str | None:
    """Return the ETag of an earlier bulk evaluation of this view; None if there is none.

    Args:
        view: the flags.
        request_key: identifies the request's body and all else that its response depends on.
    """
    return view.etags.get(request_key)


def store_etag(view: FlagView, request_key: bytes, evaluation: BulkEvaluation) -> str:
    """Compute, keep and return the ETag of a bulk evaluation: a hash of request and flags."""
    etag = hashlib.blake2b(request_key + evaluation.flags, digest_size=12).hexdigest()
    if len(view.etags) >= MAX_ETAGS:
        view.etags.clear()
    view.etags[request_key] = etag
    return etag
