"""Policies: what must hold before a release opens further."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response

from tidegate_server.admin import document_edits, document_reader
from tidegate_server.admin.policies import backtests, simulations
from tidegate_server.admin.policies.backtest_schemas import (
    BacktestAnswer,
    BacktestBody,
    BacktestRequest,
)
from tidegate_server.admin.policies.schemas import PolicyAnswer, PolicyPage, PolicyUpdate
from tidegate_server.admin.policies.simulation_schemas import (
    SimulationAnswer,
    SimulationBody,
    SimulationRequest,
)
from tidegate_server.documents.policy_schemas import PolicyBody
from tidegate_server.domain.change import Address, Kind
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.tokens import Role
from tidegate_server.web import responses
from tidegate_server.web.access_control import require_role
from tidegate_server.web.backend import backend, current_actor, current_token
from tidegate_server.web.blueprint import PROJECT, Blueprint
from tidegate_server.web.pagination import PageQuery, PageRequest, paginate

blueprint = Blueprint(
    "policies", __name__, description="What must hold before a release opens further"
)

LIST = f"{PROJECT}/policies"
ONE = f"{LIST}/<key:policy>"


@blueprint.operation("GET", LIST, role=Role.READER, query=PageQuery, response=PolicyPage)
def list_policies(asked: PageRequest, project: str) -> Response:
    """List the project's policies."""
    store = backend().store
    document_reader.project_of(store, project)
    return responses.page(PolicyPage(), *paginate(store.all(project, Kind.POLICY), asked))


@blueprint.operation(
    "POST",
    LIST,
    role=Role.WRITER,
    body=PolicyBody,
    response=PolicyAnswer,
    status=HTTPStatus.CREATED,
)
def create_policy(asked: Policy, project: str) -> Response:
    """Create a policy; `application/yaml` is welcome too."""
    stored = document_edits.create_policy(backend().store, project, asked, current_actor())
    return responses.created(
        PolicyAnswer(),
        stored,
        stored.revision,
        "policies.get_policy",
        project=project,
        policy=asked.key,
    )


@blueprint.operation("GET", ONE, role=Role.READER, response=PolicyAnswer)
def get_policy(project: str, policy: str) -> Response:
    """Read a policy."""
    stored = document_reader.document_of(backend().store, project, Address(Kind.POLICY, policy))
    return responses.document(PolicyAnswer(), stored, stored.revision)


@blueprint.operation("PUT", ONE, role=Role.WRITER, body=PolicyUpdate, response=PolicyAnswer)
def replace_policy(asked: Policy, project: str, policy: str) -> Response:
    """Replace a policy; releases that have started keep theirs."""
    after = document_edits.with_key(asked, policy)
    stored = document_edits.replace_policy(backend().store, project, after, current_actor())
    return responses.document(PolicyAnswer(), stored, stored.revision)


@blueprint.operation("DELETE", ONE, role=Role.WRITER, response=None, status=HTTPStatus.NO_CONTENT)
def delete_policy(project: str, policy: str) -> Response:
    """Delete a policy; releases that have started keep theirs."""
    document_edits.delete_policy(backend().store, project, policy, current_actor())
    return responses.no_content()


@blueprint.operation(
    "POST",
    f"{LIST}/simulate",
    role=Role.READER,
    body=SimulationBody,
    response=SimulationAnswer,
    etag=False,
)
def simulate_policy(asked: SimulationRequest, project: str) -> Response:
    """Try a policy on simulated releases, healthy and bad ones; nothing is changed.

    It takes some seconds at most. One that would take longer answers with what it has.
    """
    store = backend().store
    document_reader.project_of(store, project)
    simulated = simulations.simulated(store, project, asked)
    return responses.value(SimulationAnswer(), simulated)


@blueprint.operation(
    "POST",
    f"{LIST}/backtest",
    role=Role.READER,
    body=BacktestBody,
    response=BacktestAnswer,
    etag=False,
)
def backtest_policy(asked: BacktestRequest, project: str) -> Response:
    """Run a policy over what a release recorded: what it would have done, and what not.

    Nothing is changed. It takes some seconds at most; `limits` say what was assumed and what
    cannot be known.
    """
    require_role(current_token(), Role.READER, project, asked.environment)
    backtested = backtests.backtested(backend().store, project, asked)
    return responses.value(BacktestAnswer(), backtested)
