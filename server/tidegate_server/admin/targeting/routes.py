"""Targeting: what a flag serves in an environment."""

from __future__ import annotations

import hashlib

from flask import Response, json

from tidegate_server.admin import document_edits, document_reader
from tidegate_server.admin.kills import service
from tidegate_server.admin.kills.service import TargetingView
from tidegate_server.admin.targeting.schemas import (
    ReceiptSchema,
    TargetingAnswer,
    TargetingBody,
    TargetingPage,
)
from tidegate_server.domain.change import Kind
from tidegate_server.domain.flags import Targeting
from tidegate_server.domain.tokens import Role
from tidegate_server.web import responses
from tidegate_server.web.backend import backend, current_actor
from tidegate_server.web.blueprint import ENVIRONMENT, Blueprint
from tidegate_server.web.pagination import PageQuery, PageRequest, paginate

blueprint = Blueprint("targeting", __name__, description="What a flag serves in an environment")

LIST = f"{ENVIRONMENT}/flags"
ONE = f"{LIST}/<key:flag>"


def answer(view: TargetingView) -> Response:
    """A flag in an environment; its ETag tells receipts of one kill apart."""
    suffix = ""
    if view.receipt is not None:
        seen = json.dumps(ReceiptSchema().dump(view.receipt)).encode()
        suffix = hashlib.sha256(seen).hexdigest()[:12]
    return responses.document(TargetingAnswer(), view, view.stored.revision, suffix=suffix)


@blueprint.operation("GET", LIST, role=Role.READER, query=PageQuery, response=TargetingPage)
def list_targeting(asked: PageRequest, project: str, environment: str) -> Response:
    """List what the project's flags serve in an environment."""
    store = backend().store
    document_reader.environment_of(store, project, environment)
    page, following = paginate(store.all(project, Kind.TARGETING, environment), asked)
    views = [service.with_receipt(store, project, environment, stored) for stored in page]
    return responses.page(TargetingPage(), views, following)


@blueprint.operation("GET", ONE, role=Role.READER, response=TargetingAnswer)
def get_targeting(project: str, environment: str, flag: str) -> Response:
    """Read what a flag serves in an environment, with the receipt of a kill in force."""
    return answer(service.targeting_view(backend().store, project, environment, flag))


@blueprint.operation("PUT", ONE, role=Role.WRITER, body=TargetingBody, response=TargetingAnswer)
def replace_targeting(asked: Targeting, project: str, environment: str, flag: str) -> Response:
    """Replace what a flag serves in an environment. Its kill and its release stay."""
    store = backend().store
    after = document_edits.with_flag(asked, flag)
    stored = document_edits.replace_targeting(store, project, environment, after, current_actor())
    return answer(service.with_receipt(store, project, environment, stored))
