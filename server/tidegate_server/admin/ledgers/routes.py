"""Ledgers: the decisions of a release, their replay and their explanation."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response

from tidegate_server.admin.document_reader import read_document
from tidegate_server.admin.ledgers import explanation
from tidegate_server.admin.ledgers.replays import replay
from tidegate_server.admin.ledgers.schemas import (
    ExplanationAnswer,
    HoldPage,
    LedgerPage,
    ReplayAnswer,
    ReplayQuery,
)
from tidegate_server.admin.ledgers.stored_ledger import read_hold
from tidegate_server.admin.releases.routes import ITEM
from tidegate_server.domain.change import Address
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.permissions import Permission
from tidegate_server.ledger.holds import condense_holds
from tidegate_server.web import responses
from tidegate_server.web.backend import backend, compute_with_store
from tidegate_server.web.blueprint import Blueprint
from tidegate_server.web.pagination import PageQuery, PageRequest, encode_cursor, log_position

blueprint = Blueprint("ledgers", __name__, description="Decisions of releases, and their evidence")


@blueprint.operation(
    "GET", f"{ITEM}/ledger", permission=Permission.READ, query=PageQuery, response=LedgerPage
)
def list_ledger(page: PageRequest, project: str, environment: str, release: str) -> Response:
    """List the decisions of a release with their evidence, the latest first."""
    store = backend().store
    read_document(store, project, Address(Kind.RELEASE, release, environment))
    entries, following = store.logs.ledger(
        project, environment, release, log_position(page), page.limit
    )
    return responses.page(LedgerPage(), entries, encode_cursor(following))


@blueprint.operation(
    "GET",
    f"{ITEM}/ledger/holds",
    permission=Permission.READ,
    query=PageQuery,
    response=HoldPage,
    errors=(HTTPStatus.CONFLICT,),
)
def list_holds(page: PageRequest, project: str, environment: str, release: str) -> Response:
    """List why nothing was changed, the latest first: decisions in a row with one reason as one.

    `limit` counts decisions of the ledger, not holds. A hold that began on the next page
    continues there.
    """
    store = backend().store
    read_document(store, project, Address(Kind.RELEASE, release, environment))
    entries, following = store.logs.ledger(
        project, environment, release, log_position(page), page.limit
    )
    holds = condense_holds(map(read_hold, reversed(entries)))
    return responses.page(HoldPage(), holds[::-1], encode_cursor(following))


@blueprint.operation(
    "GET",
    f"{ITEM}/replay",
    permission=Permission.READ,
    query=ReplayQuery,
    response=ReplayAnswer,
    errors=(HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS),
)
def replay_release(page: PageRequest, project: str, environment: str, release: str) -> Response:
    """Compute a release's decisions again from the evidence in its ledger.

    A long ledger is replayed in parts. Each part begins at a checkpoint; `next_cursor` asks for
    the next one.
    """
    result = compute_with_store(
        replay, project, environment, release, log_position(page), page.limit
    )
    return responses.value_with_etag(ReplayAnswer(), result)


@blueprint.operation(
    "GET",
    f"{ITEM}/explanation",
    permission=Permission.READ,
    response=ExplanationAnswer,
    errors=(HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS),
)
def explain_release(project: str, environment: str, release: str) -> Response:
    """Explain a release: who did what and when, on which evidence, and what is left to do."""
    result = compute_with_store(explanation.explain_release, project, environment, release)
    return responses.value_with_etag(ExplanationAnswer(), result)
