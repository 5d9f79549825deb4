"""Change requests: operations that wait until other people approve them.

Those of a project are at its path. Those of the server change tokens, people and projects.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, current_app, json, request, url_for
from marshmallow import Schema

from tidegate_server.admin.action_schemas import ActionRequest
from tidegate_server.admin.change_requests import service
from tidegate_server.admin.change_requests.schemas import (
    ChangeRequestAnswer,
    ChangeRequestBody,
    ChangeRequestListQuery,
    ChangeRequestPage,
    CommentBody,
    DecisionBody,
    PresentSchema,
)
from tidegate_server.admin.change_requests.service import Proposal
from tidegate_server.admin.rehearsal import find_route
from tidegate_server.domain.callers import Caller
from tidegate_server.domain.change import Stored
from tidegate_server.domain.change_requests import ApplyWhen, ChangeRequest, RequestState
from tidegate_server.domain.permissions import Permission
from tidegate_server.domain.planned_operations import PlannedOperation
from tidegate_server.errors import FieldProblem, Invalid, NotPossible, TidegateError
from tidegate_server.store import Store
from tidegate_server.web import responses
from tidegate_server.web.access_control import require_anywhere
from tidegate_server.web.backend import backend, current_caller
from tidegate_server.web.blueprint import PROJECT, Blueprint, Method, View, calling
from tidegate_server.web.etags import IfMatch, content_suffix, read_if_match
from tidegate_server.web.pagination import StatePageRequest, paginate
from tidegate_server.web.reasons import HEADER as REASON_HEADER
from tidegate_server.web.reasons import text_in_header
from tidegate_server.web.request_bodies import read_body

PROPOSE_HEADER = "Tidegate-Propose"

blueprint = Blueprint(
    "change requests", __name__, description="Operations that wait until other people approve them"
)

COLLECTIONS = {"": f"{PROJECT}/change-requests", "server_": "/api/v1/change-requests"}
"""The paths of the lists, by what the names of their operations begin with."""


def answer(
    scope: str,
    stored: Stored,
    *,
    status: HTTPStatus = HTTPStatus.OK,
    headers: dict[str, str] | None = None,
    answers: tuple[Any, ...] | None = None,
    problem: str = "",
) -> Response:
    """Answer with a change request; its ETag differs as what it would do now differs."""
    store = backend().store
    shown = service.with_state(
        store,
        scope,
        stored,
        current_caller(),
        store.now_ms(),
        rehearsed=True,
        answers=answers,
        problem=problem,
    )
    content = json.dumps([shown.state, PresentSchema().dump(shown.present)])
    suffix = content_suffix(content)
    return responses.document(
        ChangeRequestAnswer(), shown, stored.revision, suffix=suffix, status=status, headers=headers
    )


def created(scope: str, stored: Stored, status: HTTPStatus) -> Response:
    """Answer with a new change request and its address."""
    name = "get_change_request" if scope else "get_server_change_request"
    path: dict[str, Any] = {"project": scope} if scope else {}
    location = url_for(f"{blueprint.name}.{name}", change_request=stored.document.id, **path)
    return answer(scope, stored, status=status, headers={"Location": location})


def _serve(
    prefix: str,
    method: Method,
    path: str,
    name: str,
    summary: str,
    permission: Permission,
    response: type[Schema],
    body: type[Schema] | None = None,
    query: type[Schema] | None = None,
    status: HTTPStatus = HTTPStatus.OK,
) -> Callable[[View], View]:
    """Serve an operation on the change requests of a project, or on those of the server.

    The view gets the scope first. Whether the caller may do it in the places that a request
    concerns is checked there.
    """

    def decorate(view: View) -> View:
        def served(*args: Any, project: str = "", **values: Any) -> Response:
            return view(project, *args, **values)

        def check_project() -> None:
            project = (request.view_args or {}).get("project")
            require_anywhere(current_caller(), permission, project)

        served.__name__, served.__doc__ = name, summary
        blueprint.operation(
            method,
            f"{COLLECTIONS[prefix]}{path}",
            permission=permission,
            scoped_to_caller=True,
            response=response,
            body=body,
            query=query,
            status=status,
            before_body=check_project,
        )(served)
        return view

    return decorate


def _acted(
    act: Callable[[Store, str, str, Caller, str, IfMatch], Stored],
    scope: str,
    change_request: str,
    words: str,
) -> Response:
    """Let the current caller act on a change request, with their words, and answer with it."""
    store, caller = backend().store, current_caller()
    return answer(scope, act(store, scope, change_request, caller, words, read_if_match()))


def _serve_change_requests(prefix: str, where: str) -> None:
    item = "/<key:change_request>"

    @_serve(
        prefix,
        "GET",
        "",
        f"list_{prefix}change_requests",
        f"List the change requests of {where}, the latest first.",
        Permission.READ,
        ChangeRequestPage,
        query=ChangeRequestListQuery,
    )
    def list_change_requests(scope: str, wanted: StatePageRequest[RequestState]) -> Response:
        store, caller = backend().store, current_caller()
        now_ms = store.now_ms()
        matching = {
            f"{10**15 - stored.document.created_ms:016d} {id}": stored
            for id, stored in service.readable(store, scope, caller).items()
            if wanted.state in (None, stored.document.state_at(now_ms))
        }
        listed, following = paginate(matching, wanted.page)
        shown = [service.with_state(store, scope, each, caller, now_ms) for each in listed]
        return responses.page(ChangeRequestPage(), shown, following)

    @_serve(
        prefix,
        "POST",
        "",
        f"create_{prefix}change_request",
        f"Propose a change of {where}: operations that become one atomic change.\n\nEach needs "
        "the permission of its own route. A single operation may instead be sent to its own "
        f"route with the header {PROPOSE_HEADER}.",
        Permission.READ,
        ChangeRequestAnswer,
        body=ChangeRequestBody,
        status=HTTPStatus.CREATED,
    )
    def create_change_request(scope: str, proposal: Proposal) -> Response:
        stored = service.propose(backend().store, scope, proposal, current_caller())
        return created(scope, stored, HTTPStatus.CREATED)

    @_serve(
        prefix,
        "GET",
        item,
        f"get_{prefix}change_request",
        "Get a change request, with what it would change now.",
        Permission.READ,
        ChangeRequestAnswer,
    )
    def get_change_request(scope: str, change_request: str) -> Response:
        return answer(scope, service.read(backend().store, scope, change_request, current_caller()))

    @_serve(
        prefix,
        "PUT",
        item,
        f"replace_{prefix}change_request",
        "Replace what your change request would do. Its approvals end.",
        Permission.READ,
        ChangeRequestAnswer,
        body=ChangeRequestBody,
    )
    def replace_change_request(scope: str, proposal: Proposal, change_request: str) -> Response:
        stored = service.revise(
            backend().store, scope, change_request, proposal, current_caller(), read_if_match()
        )
        return answer(scope, stored)

    @_serve(
        prefix,
        "POST",
        f"{item}/approve",
        f"approve_{prefix}change_request",
        "Approve a change request of another person, as you read it: send its ETag in If-Match.",
        Permission.APPROVE,
        ChangeRequestAnswer,
        body=DecisionBody,
    )
    def approve_change_request(scope: str, action: ActionRequest, change_request: str) -> Response:
        store, caller = backend().store, current_caller()
        stored = service.approve(
            store, scope, change_request, caller, action.reason, read_if_match()
        )
        approved: ChangeRequest = stored.document
        at_once = approved.apply is ApplyWhen.ON_APPROVAL
        if not at_once or approved.state_at(store.now_ms()) is not RequestState.APPROVED:
            return answer(scope, stored)
        try:
            stored, _ = service.apply(store, scope, change_request, caller, "", IfMatch())
        except TidegateError as error:
            # The approval stands; once the obstacle has gone, it is applied by hand.
            return answer(scope, stored, problem=error.message)
        return answer(scope, stored)

    @_serve(
        prefix,
        "POST",
        f"{item}/reject",
        f"reject_{prefix}change_request",
        "Reject a change request: it will not be applied.",
        Permission.APPROVE,
        ChangeRequestAnswer,
        body=DecisionBody,
    )
    def reject_change_request(scope: str, action: ActionRequest, change_request: str) -> Response:
        return _acted(service.reject, scope, change_request, action.reason)

    @_serve(
        prefix,
        "POST",
        f"{item}/withdraw",
        f"withdraw_{prefix}change_request",
        "Withdraw your change request: it will not be applied.",
        Permission.READ,
        ChangeRequestAnswer,
        body=DecisionBody,
    )
    def withdraw_change_request(scope: str, action: ActionRequest, change_request: str) -> Response:
        return _acted(service.withdraw, scope, change_request, action.reason)

    @_serve(
        prefix,
        "POST",
        f"{item}/comments",
        f"comment_on_{prefix}change_request",
        "Add a comment to a change request.",
        Permission.READ,
        ChangeRequestAnswer,
        body=CommentBody,
    )
    def comment_on_change_request(scope: str, text: str, change_request: str) -> Response:
        return _acted(service.comment, scope, change_request, text)

    @_serve(
        prefix,
        "POST",
        f"{item}/apply",
        f"apply_{prefix}change_request",
        "Make the change of an approved change request.\n\nIts owner or who may approve it applies "
        "it. It is refused if what it changes was changed meanwhile. Only its owner gets the "
        "answers of its operations, which may have secrets.",
        Permission.READ,
        ChangeRequestAnswer,
        body=DecisionBody,
    )
    def apply_change_request(scope: str, action: ActionRequest, change_request: str) -> Response:
        stored, answers = service.apply(
            *(backend().store, scope, change_request, current_caller()),
            *(action.reason, read_if_match()),
        )
        return answer(scope, stored, answers=answers)


_serve_change_requests("", "a project")
_serve_change_requests("server_", "the server: tokens, people, projects")


def propose_instead() -> Response | None:
    """Propose the current request's operation if its header says so; a hook of every request."""
    if PROPOSE_HEADER not in request.headers or request.method == "GET":
        return None
    if request.routing_exception is not None:
        return None  # there is no such operation, which the application says
    calling()
    if getattr(current_app.view_functions[request.endpoint or ""], "streamed_body", False):
        raise NotPossible(
            "An upload of keys cannot be proposed: a change request does not keep its keys. Send "
            f"it without the header {PROPOSE_HEADER}."
        )
    reason = text_in_header(PROPOSE_HEADER)
    if not reason:
        message = f"The header {PROPOSE_HEADER} is empty; say why the change is needed."
        raise Invalid(message, FieldProblem("/reason", message))
    path = request.full_path if request.query_string else request.path
    body = read_body(request, allow_yaml=True) if request.get_data(cache=True) else None
    operation = PlannedOperation(request.method, path, body, text_in_header(REASON_HEADER))
    route = find_route(operation)
    scope = route.project or ""
    proposal = Proposal(reason, (operation,), (request.headers.get("If-Match"),))
    stored = service.propose(backend().store, scope, proposal, current_caller())
    return created(scope, stored, HTTPStatus.ACCEPTED)


def install(app: Flask) -> None:
    """Let every operation of an application be proposed instead of carried out."""
    app.before_request(propose_instead)
