"""Targeting: what a flag serves in an environment."""

from __future__ import annotations

import hashlib

from flask import Response, json

from tidegate_server.api import answers
from tidegate_server.api.backend import backend, present_actor
from tidegate_server.api.blueprint import ENVIRONMENT, Blueprint
from tidegate_server.api.paging import PageQuery, PageRequest, page_of
from tidegate_server.api.schemas.targeting import (
    ReceiptSchema,
    TargetingAnswer,
    TargetingBody,
    TargetingPage,
)
from tidegate_server.api.services import contents, edits, kills
from tidegate_server.api.services.kills import TargetingView
from tidegate_server.domain.change import Kind
from tidegate_server.domain.flags import Targeting
from tidegate_server.domain.tokens import Role

blueprint = Blueprint("targeting", __name__, description="What a flag serves in an environment")

LIST = f"{ENVIRONMENT}/flags"
ONE = f"{LIST}/<key:flag>"


def answer(view: TargetingView) -> Response:
    """A flag in an environment; its ETag tells receipts of one kill apart."""
    more = ""
    if view.receipt is not None:
        seen = json.dumps(ReceiptSchema().dump(view.receipt)).encode()
        more = hashlib.sha256(seen).hexdigest()[:12]
    return answers.of_document(TargetingAnswer(), view, view.stored.revision, more=more)


@blueprint.operation("GET", LIST, needs=Role.READER, query=PageQuery, answer=TargetingPage)
def list_targeting(asked: PageRequest, project: str, environment: str) -> Response:
    """List what the project's flags serve in an environment."""
    store = backend().store
    contents.environment_of(store, project, environment)
    page, following = page_of(store.all(project, Kind.TARGETING, environment), asked)
    views = [kills.with_receipt(store, project, environment, stored) for stored in page]
    return answers.of_page(TargetingPage(), views, following)


@blueprint.operation("GET", ONE, needs=Role.READER, answer=TargetingAnswer)
def get_targeting(project: str, environment: str, flag: str) -> Response:
    """Read what a flag serves in an environment, with the receipt of a kill in force."""
    return answer(kills.targeting_view(backend().store, project, environment, flag))


@blueprint.operation("PUT", ONE, needs=Role.WRITER, body=TargetingBody, answer=TargetingAnswer)
def replace_targeting(asked: Targeting, project: str, environment: str, flag: str) -> Response:
    """Replace what a flag serves in an environment. Its kill and its release stay."""
    store = backend().store
    after = edits.with_flag(asked, flag)
    stored = edits.replace_targeting(store, project, environment, after, present_actor())
    return answer(kills.with_receipt(store, project, environment, stored))
