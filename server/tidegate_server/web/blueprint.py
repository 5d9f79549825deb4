"""Blueprints whose operations declare permission, request, response and documentation at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import wraps
from http import HTTPStatus
from typing import Any, Literal, NoReturn, TypeAlias, TypeVar

import flask_smorest
from flask import Request, Response, g, request
from marshmallow import Schema, ValidationError
from webargs.flaskparser import FlaskParser
from werkzeug.routing import BaseConverter

from tidegate_server.documents.fields import PATH_KEY
from tidegate_server.domain.callers import Caller, token_caller
from tidegate_server.domain.permissions import EVALUATION, Permission
from tidegate_server.errors import Forbidden
from tidegate_server.web.access_control import (
    require_anywhere,
    require_permission,
    sdk_environment,
)
from tidegate_server.web.backend import backend
from tidegate_server.web.inner_requests import inner_caller, inner_session
from tidegate_server.web.request_bodies import JSON, YAML, invalid, load_body, schema_limit

Method: TypeAlias = Literal["GET", "POST", "PUT", "DELETE"]
SchemaClass: TypeAlias = type[Schema]
View = TypeVar("View", bound=Callable[..., Response])

SERVER_PREFIX = "/api/v1"
PROJECT = f"{SERVER_PREFIX}/projects/<key:project>"
ENVIRONMENT = PROJECT + "/environments/<key:environment>"


class Who(StrEnum):
    """Who may call an operation that needs no permission.

    ``CALLER``: whoever has a token or a session. ``PERSON``: a person, in a session or with their
    own token. ``SESSION``: a person who has signed in.
    """

    CALLER = "caller"
    PERSON = "person"
    SESSION = "session"


SECRETS = frozenset({"secret", "device_code"})
"""The fields of answers that no cache may keep."""

UNCHANGING = EVALUATION | {Permission.READ, Permission.CODE}
"""The permissions whose routes change no configuration."""

PROPOSE_PARAMETER = {
    "in": "header",
    "name": "Tidegate-Propose",
    "description": "why: propose the operation as a change request (202) instead of carrying it "
    "out; percent-encoded UTF-8, at most 1,000 characters",
    "schema": {"type": "string"},
}

PROPOSED_RESPONSE = {
    "description": "The change request that the operation was proposed as",
    "headers": {
        "Location": {"description": "its address", "schema": {"type": "string"}},
    },
    "content": {JSON: {"schema": {"$ref": "#/components/schemas/ChangeRequestAnswer"}}},
}

REASON_PARAMETER = {
    "in": "header",
    "name": "Tidegate-Reason",
    "description": "why, for the audit log: percent-encoded UTF-8, at most 1,000 characters; "
    "instead of a field `reason` of the body, where there is one",
    "schema": {"type": "string"},
}


class KeyConverter(BaseConverter):
    """A key in a path; a path with anything else there is an unknown address."""

    regex = PATH_KEY


def key_parameter(_: BaseConverter) -> dict[str, Any]:
    """Return the JSON Schema of a key in a path."""
    return {"type": "string", "pattern": f"^{PATH_KEY}$"}


class _Parser(FlaskParser):
    """webargs with strict bodies, which raises ``Invalid`` with a pointer for each problem."""

    DEFAULT_UNKNOWN_BY_LOCATION = {"query": None}  # noqa: RUF012

    def parse(self, argmap: Any, req: Any = None, *, location: Any = None, **options: Any) -> Any:
        """Return what the schema builds from the body or the query string of a request."""
        if location != "json":
            return super().parse(argmap, req, location=location, **options)
        schema: Schema = argmap() if isinstance(argmap, type) else argmap
        services = backend()
        large = getattr(schema, "large_body", False)
        limit = services.settings.report_limit if large else schema_limit(schema)
        return load_body(req or request, schema, services.large_bodies, limit=limit)

    def handle_error(
        self,
        error: ValidationError,
        req: Request,
        schema: Schema,
        *,
        error_status_code: int | None,
        error_headers: Any,
    ) -> NoReturn:
        """Raise ``Invalid`` with every problem that the schema found."""
        raise invalid(error.messages_dict.get("query", error.messages)) from None


class Blueprint(flask_smorest.Blueprint):  # type: ignore[misc] # the library has no types
    """A blueprint of documented operations."""

    ARGUMENTS_PARSER = _Parser()

    def operation(
        self,
        method: Method,
        rule: str,
        *,
        permission: Permission | None,
        response: SchemaClass | Mapping[str, Any] | None,
        status: HTTPStatus = HTTPStatus.OK,
        body: SchemaClass | None = None,
        parse_body: bool = True,
        query: SchemaClass | None = None,
        scoped_to_caller: bool = False,
        etag: bool = True,
        errors: tuple[HTTPStatus, ...] = (),
        content_type: str | None = None,
        authorize: Callable[..., None] | None = None,
        security: Sequence[Mapping[str, list[str]]] | None = None,
        before_body: Callable[[], None] | None = None,
        who: Who | None = None,
        streamed_body: Mapping[str, Any] | None = None,
    ) -> Callable[[View], View]:
        """Route a view function and document it.

        The view gets the values that ``query`` and ``body`` build, in this order, then the
        path's parts by name.

        Args:
            method: the HTTP method.
            rule: the path.
            permission: the permission that a caller needs; None: none.
            response: the schema of a success.
            status: the status of a success.
            body: the schema of the request's body.
            parse_body: whether the view gets what ``body`` builds; otherwise it reads the body.
            query: the schema of the query string.
            scoped_to_caller: the view limits itself to what the caller may do, so the path is
                not checked.
            etag: the response has an ETag.
            errors: further error statuses to document.
            content_type: the content type of a success, if it is not JSON.
            authorize: for operations without a token: called with the path's parts before the
                request is read; raises to refuse the caller.
            security: the documented security schemes, if they are not ``bearer``.
            who: for operations without a permission: who may call them; None: everybody.
            before_body: called after the token is checked and before the body is read; raises to
                refuse the request.
            streamed_body: for a body that the view reads itself: the documentation of each of
                its content types.
        """

        def decorate(view: View) -> View:
            description: dict[str, Any] = {}
            served: Any = self.response(status, response, content_type=content_type)(view)
            has_body = body is not None or streamed_body is not None
            responses = served._apidoc["response"]["responses"]
            for error in _error_statuses(method, permission, who, has_body, query, rule, errors):
                responses.setdefault(error, []).append(error.name)
            if streamed_body is not None:
                description["requestBody"] = {"content": streamed_body, "required": True}
            if body is not None and not parse_body:
                content = {JSON: {"schema": body}}
                description["requestBody"] = {"content": content, "required": True}
            elif body is not None:
                optional = getattr(body, "body_optional", False)
                served = self.arguments(body, location="json", required=not optional)(served)
                if getattr(body, "allow_yaml", False):
                    content = {YAML: {"schema": body}, JSON: {"schema": body}}
                    description["requestBody"] = {"content": content}
            if query is not None:
                served = self.arguments(query, location="query")(served)
            shows_secret = not SECRETS.isdisjoint(getattr(response, "_declared_fields", {}))
            served = _guarded(
                served, permission, scoped_to_caller, authorize, before_body, shows_secret, who
            )
            if permission is not None:
                description["x-permission"] = permission.value
            if permission is not None or who is not None or security is not None:
                description["security"] = security or _security(permission, who)
            changes = method != "GET" and permission is not None and permission not in UNCHANGING
            if streamed_body is not None:
                # A change request cannot keep such a body.
                served.streamed_body = True
                description["parameters"] = [REASON_PARAMETER]
            elif changes:
                description["parameters"] = [REASON_PARAMETER, PROPOSE_PARAMETER]
                description["responses"] = {"202": PROPOSED_RESPONSE}
            # The library's decorators would each add a copy of the description and a call.
            served._apidoc["manual_doc"] = description
            if etag:
                served._apidoc["etag"] = True
            self.route(rule, methods=[method], endpoint=view.__name__)(served)
            return view

        return decorate

    def openapi_operation(
        self, method: Method, rule: str, description: Mapping[str, Any]
    ) -> Callable[[View], View]:
        """Route a view function that is documented in OpenAPI directly.

        Args:
            method: the HTTP method.
            rule: the path.
            description: the OpenAPI operation object.
        """

        def decorate(view: View) -> View:
            served = self.doc(**description)(view)
            self.route(rule, methods=[method], endpoint=view.__name__)(served)
            return view

        return decorate


def _error_statuses(
    method: Method,
    permission: Permission | None,
    who: Who | None,
    has_body: bool,
    query: SchemaClass | None,
    rule: str,
    more: tuple[HTTPStatus, ...],
) -> list[HTTPStatus]:
    statuses = set(more)
    if permission is not None or who is not None:
        statuses |= {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
        statuses |= {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}
    if "<" in rule:
        statuses.add(HTTPStatus.NOT_FOUND)
    if method != "GET":
        statuses |= {HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY}
        statuses |= {HTTPStatus.PRECONDITION_FAILED} if method == "POST" else set()
    if query is not None:
        statuses.add(HTTPStatus.UNPROCESSABLE_ENTITY)
    if has_body:
        statuses |= {
            HTTPStatus.BAD_REQUEST,
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            HTTPStatus.TOO_MANY_REQUESTS,
        }
    return sorted(statuses)


def calling() -> Caller:
    """Return who makes the current request, and note it as the current caller."""
    inner = inner_caller(request.environ)
    if inner is not None:
        g.session = inner_session(request.environ)
    g.caller = caller = inner or backend().authenticator.caller_from_request()
    return caller


def _guarded(
    view: Callable[..., Response],
    permission: Permission | None,
    scoped_to_caller: bool,
    authorize: Callable[..., None] | None,
    before_body: Callable[[], None] | None,
    shows_secret: bool,
    who: Who | None,
) -> Callable[..., Response]:
    """Return the view behind a check of the caller; its documentation stays on it."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Response:
        if permission is not None:
            _admit(permission, scoped_to_caller, kwargs.get("project"), kwargs.get("environment"))
        elif who is not None:
            _identify(who)
        elif authorize is not None:
            authorize(**kwargs)
        if before_body is not None:
            before_body()
        return view(*args, **kwargs)

    guarded.permission = permission  # type: ignore[attr-defined]
    guarded.shows_secret = shows_secret  # type: ignore[attr-defined]
    guarded.who = who  # type: ignore[attr-defined]
    return guarded


def _identify(who: Who) -> None:
    caller = calling()
    if not any(grant.permissions - EVALUATION for grant in caller.grants) and not caller.person:
        raise Forbidden("A token of the role sdk or client gets evaluations only.")
    if who is not Who.CALLER and not caller.person:
        raise Forbidden("This is for people; the token belongs to a program.")
    if who is Who.SESSION and g.session is None:
        raise Forbidden(
            "Sign in to do this: a token alone is not enough, so that a stolen one cannot stay."
        )


def _security(permission: Permission | None, who: Who | None) -> list[dict[str, list[str]]]:
    bearer: dict[str, list[str]] = {"bearer": []}
    session: dict[str, list[str]] = {"session": []}
    if permission in EVALUATION:
        return [bearer]
    return [session] if who is Who.SESSION else [bearer, session]


def _admit(
    permission: Permission, scoped_to_caller: bool, project: str | None, environment: str | None
) -> None:
    if permission is Permission.SDK:
        authenticator = backend().authenticator
        with authenticator.noting_refusals():
            g.token = token = authenticator.token_from_request()
            g.caller = token_caller(token)
            sdk_environment(token)
        return
    caller = calling()
    if scoped_to_caller:
        require_anywhere(caller, permission)
    else:
        require_permission(caller, permission, project, environment)
