"""Evaluations of a flag for one context, explained step by step, now and at earlier times."""

from __future__ import annotations

from typing import Any

from flask import Response
from tidegate.context import Context

from tidegate_server.admin.document_history import version_summary
from tidegate_server.admin.document_reader import missing_document, read_environment, read_project
from tidegate_server.admin.evaluations.past_snapshots import (
    DocumentVersion,
    PastSnapshot,
    later_versions,
    snapshot_at,
)
from tidegate_server.admin.evaluations.schemas import (
    EvaluationAnswer,
    EvaluationBody,
    EvaluationRequest,
)
from tidegate_server.domain.evaluation_steps import explain_evaluation
from tidegate_server.domain.permissions import Permission
from tidegate_server.domain.project_documents import targeting_address
from tidegate_server.errors import FieldProblem, Invalid
from tidegate_server.store import Store
from tidegate_server.web import responses
from tidegate_server.web.backend import backend
from tidegate_server.web.blueprint import ENVIRONMENT, Blueprint

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

    With `at`, the flag, its prerequisites, its segments and its release are as they were then,
    and the answer also has the present result and what has changed since.
    """
    store = backend().store
    read_project(store, project)
    read_environment(store, project, environment)
    now_ms = store.now_ms()
    at_ms = now_ms if request.at_ms is None else request.at_ms
    if at_ms > now_ms:
        message = "This time is in the future; leave `at` out to evaluate the flag as it is now."
        raise Invalid(message, FieldProblem("/at", message))
    past = snapshot_at(store, project, environment, flag, at_ms)
    address = targeting_address(environment, flag)
    if not past.used and not store.history.versions(project, address, None, 1)[0]:
        raise missing_document(store, project, address)
    answer = {
        **_result(past, flag, request.context),
        "flag": flag,
        "at_ms": at_ms,
        "versions": [_version(each) for each in past.used],
        "now": None,
        "changed_since": [],
    }
    if request.at_ms is not None:
        answer |= _since(store, past, flag, request.context, at_ms, now_ms)
    return responses.value(EvaluationAnswer(), answer)


def _since(
    store: Store, past: PastSnapshot, flag: str, context: Context, at_ms: int, now_ms: int
) -> dict[str, Any]:
    """Return the present result, and what has changed since a time."""
    project, environment = past.snapshot.project, past.snapshot.environment
    present = snapshot_at(store, project, environment, flag, now_ms)
    used = dict.fromkeys(each.address for each in (*past.used, *present.used))
    later = later_versions(store, project, used, at_ms)
    return {
        "now": _result(present, flag, context),
        "changed_since": [_version(each) for each in later],
    }


def _result(past: PastSnapshot, flag: str, context: Context) -> dict[str, Any]:
    explained = explain_evaluation(past.snapshot, flag, context)
    result = explained.evaluation
    return {
        "value": result.value,
        "variant": result.variant,
        "reason": result.reason,
        "error_code": result.error_code,
        "error_message": result.error_message,
        "metadata": dict(result.metadata),
        "steps": explained.steps,
    }


def _version(each: DocumentVersion) -> dict[str, Any]:
    return {
        "kind": each.address.kind,
        "key": each.address.key,
        "environment": each.address.environment,
        **version_summary(each.version),
    }
