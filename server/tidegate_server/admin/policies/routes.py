"""Policies: the written conditions of releases."""

from __future__ import annotations

from collections import Counter

from flask import Response

from tidegate_server.admin.document_reader import read_document, read_project
from tidegate_server.admin.document_resource import DocumentResource
from tidegate_server.admin.policies import backtests, simulations
from tidegate_server.admin.policies.backtest_schemas import (
    BacktestAnswer,
    BacktestBody,
    BacktestRequest,
)
from tidegate_server.admin.policies.schemas import (
    PolicyAnswer,
    PolicyPage,
    PolicyRecordAnswer,
    PolicyUpdate,
)
from tidegate_server.admin.policies.simulation_schemas import (
    SimulationAnswer,
    SimulationBody,
    SimulationRequest,
)
from tidegate_server.documents.policy_schemas import PolicyBody
from tidegate_server.domain.change import Address
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.permissions import Permission
from tidegate_server.domain.policy_edits import delete_policy, put_policy
from tidegate_server.domain.release import LIVE_STATES, State
from tidegate_server.web import responses
from tidegate_server.web.access_control import require_permission
from tidegate_server.web.backend import backend, compute_with_store, current_caller
from tidegate_server.web.blueprint import Blueprint

blueprint = Blueprint("policies", __name__, description="The written conditions of releases")

policies = DocumentResource(blueprint, Kind.POLICY, PolicyAnswer, PolicyPage)
policies.serve_list("List the policies of a project.")
policies.serve_create(
    PolicyBody, put_policy, "Create a policy; the body may also be `application/yaml`."
)
policies.serve_get("Get a policy.")
policies.serve_replace(
    PolicyUpdate, put_policy, "Replace a policy; releases that have started keep theirs."
)
policies.serve_history(put_policy, put_policy)
policies.serve_delete(delete_policy, "Delete a policy; releases that have started keep theirs.")


@blueprint.operation(
    "POST",
    f"{policies.collection}/simulate",
    permission=Permission.READ,
    body=SimulationBody,
    response=SimulationAnswer,
    etag=False,
)
def simulate_policy(simulation: SimulationRequest, project: str) -> Response:
    """Run a policy on simulated releases, healthy and bad ones. This changes nothing.

    It takes a few seconds at most. A longer simulation is cut short and answers with the
    releases that it finished.
    """
    store = backend().store
    read_project(store, project)
    result = compute_with_store(simulations.simulate, project, simulation)
    return responses.value(SimulationAnswer(), result)


@blueprint.operation(
    "POST",
    f"{policies.collection}/backtest",
    permission=Permission.READ,
    body=BacktestBody,
    response=BacktestAnswer,
    etag=False,
)
def backtest_policy(backtest: BacktestRequest, project: str) -> Response:
    """Run a policy over the evidence in a release's ledger. This changes nothing.

    It takes a few seconds at most. `limits` says what was assumed and what cannot be known.
    """
    require_permission(current_caller(), Permission.READ, project, backtest.environment)
    result = compute_with_store(backtests.backtest, project, backtest)
    return responses.value(BacktestAnswer(), result)


@blueprint.operation(
    "GET",
    f"{policies.item}/record",
    permission=Permission.READ,
    response=PolicyRecordAnswer,
    etag=False,
)
def get_policy_record(project: str, policy: str) -> Response:
    """Say how many releases have run under a policy, in the environments that you may read."""
    store, caller = backend().store, current_caller()
    read_document(store, project, Address(Kind.POLICY, policy))
    states = Counter(
        stored.document.state
        for environment in store.keys(project, Kind.ENVIRONMENT)
        if caller.allows(Permission.READ, project, environment)
        for stored in store.cached(project, Kind.RELEASE, environment).stored.values()
        if stored.document.policy.key == policy
    )
    answer = {
        "releases": states.total(),
        "completed": states[State.COMPLETED],
        "rolled_back": states[State.ROLLED_BACK],
        "live": sum(states[each] for each in LIVE_STATES),
    }
    return responses.value(PolicyRecordAnswer(), answer)
