"""Evaluations of a flag for one context, explained step by step, now and at earlier times."""

from __future__ import annotations

from typing import Any

from flask import Response
from tidegate.evaluation.conditions import key_sets_in

from tidegate_server.admin.document_history import version_summary
from tidegate_server.admin.document_reader import missing_document, read_environment
from tidegate_server.admin.evaluations.contexts import Subject, read_subject
from tidegate_server.admin.evaluations.past_snapshots import (
    MAX_LATER,
    DocumentVersion,
    PastSnapshot,
    later_versions,
    snapshot_at,
)
from tidegate_server.admin.evaluations.schemas import (
    EvaluationAnswer,
    EvaluationBody,
    EvaluationRequest,
    EvaluationsRequest,
    FlagResultsAnswer,
    SeveralEvaluationsBody,
)
from tidegate_server.admin.flag_lists.service import flag_lists
from tidegate_server.domain.evaluation_steps import explain_evaluation
from tidegate_server.domain.flag_list import FlagFilter, Order
from tidegate_server.domain.permissions import Permission
from tidegate_server.domain.project_documents import targeting_address
from tidegate_server.errors import FieldProblem, Invalid
from tidegate_server.store import Store
from tidegate_server.store.key_sets import StoredHashes
from tidegate_server.web import responses
from tidegate_server.web.backend import backend
from tidegate_server.web.blueprint import ENVIRONMENT, Blueprint
from tidegate_server.web.pagination import encode_cursor
from tidegate_server.web.seen_user_names import name_of_key

blueprint = Blueprint("evaluations", __name__, description="What a flag serves to a context")


@blueprint.operation(
    "POST",
    f"{ENVIRONMENT}/flags/<key:flag>/evaluate",
    permission=Permission.READ,
    body=EvaluationBody,
    response=EvaluationAnswer,
    etag=False,
)
def evaluate_flag(
    request: EvaluationRequest, project: str, environment: str, flag: str
) -> Response:
    """Evaluate a flag for a context and explain the result. This counts nothing.

    With `at` or `version`, the flag, its prerequisites, its segments and its release are as they
    were then, and the answer also has the present result and what has changed since.
    """
    store = backend().store
    read_environment(store, project, environment)
    subject = _subject(request, project, environment)
    now_ms = store.now_ms()
    at_ms = _moment(request, project, environment, now_ms)
    past = snapshot_at(store, project, environment, flag, at_ms)
    address = targeting_address(environment, flag)
    if not past.used and not store.history.versions(project, address, None, 1)[0]:
        raise missing_document(store, project, address)
    used = [each.version.at_ms for each in past.used]
    answer = {
        **_result(store, past, flag, subject),
        "flag": flag,
        "at_ms": at_ms,
        "context": subject.shown,
        "caveats": subject.caveats,
        "since_ms": max(used, default=None),
        "until_ms": None,
        "versions": [_version(each) for each in past.used],
        "now": None,
        "changed_since": [],
    }
    if request.is_of_the_past:
        answer |= _since(store, past, flag, subject, at_ms, now_ms)
    return responses.value(EvaluationAnswer(), answer)


@blueprint.operation(
    "POST",
    f"{ENVIRONMENT}/evaluate",
    permission=Permission.READ,
    body=SeveralEvaluationsBody,
    response=FlagResultsAnswer,
    etag=False,
)
def evaluate_flags(wanted: EvaluationsRequest, project: str, environment: str) -> Response:
    """Evaluate several flags for a context, or all of them in pages. This counts nothing."""
    store, request = backend().store, wanted.request
    read_environment(store, project, environment)
    subject = _subject(request, project, environment)
    now_ms = store.now_ms()
    at_ms = _moment(request, project, environment, now_ms)
    if wanted.flags is None:
        found = flag_lists().of(store, project, environment).find(FlagFilter(), Order())
        keys, following = found.page(wanted.after, wanted.limit)
    else:
        keys, following = wanted.flags, None
    results = []
    for key in keys:
        past = snapshot_at(store, project, environment, key, at_ms)
        results.append({"flag": key, **_result(store, past, key, subject)})
    answer = {
        "items": results,
        "next_cursor": encode_cursor(following),
        "at_ms": at_ms,
        "context": subject.shown,
        "caveats": subject.caveats,
    }
    return responses.value(FlagResultsAnswer(), answer)


def _subject(request: EvaluationRequest, project: str, environment: str) -> Subject:
    services = backend()
    name = name_of_key(services.settings.secret_key, project, environment)
    return read_subject(services.store, project, environment, request, name)


def _moment(request: EvaluationRequest, project: str, environment: str, now_ms: int) -> int:
    """Return the time for which a request asks.

    Raises:
        Invalid: it is in the future, or nothing is known of the version.
    """
    if request.version is not None:
        store = backend().store
        committed = store.receipts.committed_ms(project, environment, [request.version])
        if request.version not in committed:
            present = store.version(project, environment)
            message = (
                f"Nothing is known of version {request.version}: the environment is at version "
                f"{present}, and the times of versions are kept for 30 days. Give `at` instead."
            )
            raise Invalid(message, FieldProblem("/version", message))
        return committed[request.version]
    if request.at_ms is None:
        return now_ms
    if request.at_ms > now_ms:
        message = "This time is in the future; leave `at` out to evaluate the flag as it is now."
        raise Invalid(message, FieldProblem("/at", message))
    return request.at_ms


def _since(
    store: Store, past: PastSnapshot, flag: str, subject: Subject, at_ms: int, now_ms: int
) -> dict[str, Any]:
    """Return the present result, what has changed since a time, and until when it was so."""
    project, environment = past.snapshot.project, past.snapshot.environment
    present = snapshot_at(store, project, environment, flag, now_ms)
    used = dict.fromkeys(each.address for each in (*past.used, *present.used))
    later = later_versions(store, project, used, at_ms)
    before = {each.address for each in past.used}
    ends = [each.version.at_ms for each in later if each.address in before]
    return {
        "now": _result(store, present, flag, subject),
        "changed_since": [_version(each) for each in later[:MAX_LATER]],
        "until_ms": min(ends, default=None),
    }


def _result(store: Store, past: PastSnapshot, flag: str, subject: Subject) -> dict[str, Any]:
    snapshot = subject.prepared(past.snapshot)
    key_sets = {
        digest: StoredHashes(store.key_sets, snapshot.project, digest, f"segment {key!r}")
        for key, segment in snapshot.segments.items()
        for digest in key_sets_in([segment])
    }
    explained = explain_evaluation(snapshot, flag, subject.context, key_sets)
    result = explained.evaluation
    decided_by = next((each for each in reversed(explained.steps) if each.decides), None)
    return {
        "value": result.value,
        "variant": result.variant,
        "reason": result.reason,
        "error_code": result.error_code,
        "error_message": result.error_message,
        "metadata": dict(result.metadata),
        "steps": explained.steps,
        "decided_by": decided_by,
        "bucket": None if decided_by is None else decided_by.bucket,
        "opened_below": None if decided_by is None else decided_by.opened_below,
    }


def _version(each: DocumentVersion) -> dict[str, Any]:
    return {
        "kind": each.address.kind,
        "key": each.address.key,
        "environment": each.address.environment,
        **version_summary(each.version),
    }
