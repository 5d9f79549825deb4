"""Blueprints whose operations say in one place who may call them, what goes in and comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from http import HTTPStatus
from typing import Any, Literal, NoReturn, TypeAlias, TypeVar

import flask_smorest
from flask import Request, Response, g
from marshmallow import Schema, ValidationError
from webargs.flaskparser import FlaskParser
from werkzeug.routing import BaseConverter

from tidegate_server.documents.fields import PATH_KEY
from tidegate_server.documents.json_pointers import problems
from tidegate_server.domain.tokens import Role
from tidegate_server.errors import Invalid
from tidegate_server.web.access_control import require, require_sdk
from tidegate_server.web.backend import backend
from tidegate_server.web.request_bodies import JSON, YAML, read_body

Method: TypeAlias = Literal["GET", "POST", "PUT", "DELETE"]
SchemaClass: TypeAlias = type[Schema]
View = TypeVar("View", bound=Callable[..., Response])

PROJECT = "/api/v1/projects/<key:project>"
ENVIRONMENT = PROJECT + "/environments/<key:environment>"


class KeyConverter(BaseConverter):
    """The part of a path that is a key; anything else is no route at all."""

    regex = PATH_KEY


def key_parameter(_: BaseConverter) -> dict[str, Any]:
    """The JSON Schema of a key in a path."""
    return {"type": "string", "pattern": f"^{PATH_KEY}$"}


class _Parser(FlaskParser):
    """webargs, with bodies read strictly and every refusal an ``Invalid`` with pointers."""

    DEFAULT_UNKNOWN_BY_LOCATION = {"json": None, "query": None}  # noqa: RUF012

    def load_json(self, req: Request, schema: Schema) -> Any:
        """The body's value; an absent one is empty where the schema says that it may be."""
        if getattr(schema, "body_may_be_absent", False) and not req.get_data():
            return {}
        if getattr(schema, "long_body", False):
            req.max_content_length = backend().settings.report_limit
        return read_body(req, yaml_too=getattr(schema, "yaml_too", False))

    def handle_error(
        self,
        error: ValidationError,
        req: Request,
        schema: Schema,
        *,
        error_status_code: int | None,
        error_headers: Any,
    ) -> NoReturn:
        """Raise what the schema found, each with its pointer."""
        found = [problem for part in _parts(error) for problem in problems(part)]
        first = found[0]
        at = first.pointer or "the body"
        more = f" ({len(found) - 1} more in errors.)" if len(found) > 1 else ""
        raise Invalid(f"Nothing was changed. {at}: {first.detail}{more}", *found) from None


def _parts(error: ValidationError) -> list[Any]:
    messages = error.messages
    return list(messages.values()) if isinstance(messages, dict) else [messages]


class Blueprint(flask_smorest.Blueprint):  # type: ignore[misc] # the library has no types
    """A blueprint of documented operations."""

    ARGUMENTS_PARSER = _Parser()

    def operation(
        self,
        method: Method,
        rule: str,
        *,
        needs: Role | None,
        answer: SchemaClass | Mapping[str, Any] | None,
        status: HTTPStatus = HTTPStatus.OK,
        body: SchemaClass | None = None,
        query: SchemaClass | None = None,
        in_own_scope: bool = False,
        tagged: bool = True,
        refusals: tuple[HTTPStatus, ...] = (),
        content_type: str | None = None,
        admits: Callable[..., None] | None = None,
        security: Sequence[Mapping[str, list[str]]] | None = None,
    ) -> Callable[[View], View]:
        """Serve a function and document it.

        The function gets the values that ``query`` and ``body`` build, in this order, then
        the path's parts by name.

        Args:
            needs: the role a token must have; ``None``: everyone may.
            in_own_scope: the function itself limits what it does to the token's scope.
            tagged: the answer has an ETag.
            refusals: statuses that it may answer beyond those that follow from the rest.
            admits: called with the path's parts before anything of the request is read;
                raises for a caller who is not welcome. For operations that need no token.
            security: what the document says of them.
        """

        def decorate(view: View) -> View:
            served = self.response(status, answer, content_type=content_type)(view)
            for refusal in _refusals(method, needs, body, query, rule, refusals):
                served = self.alt_response(refusal, refusal.name)(served)
            if body is not None:
                absent = getattr(body, "body_may_be_absent", False)
                served = self.arguments(body, location="json", required=not absent)(served)
                if getattr(body, "yaml_too", False):
                    content = {YAML: {"schema": body}, JSON: {"schema": body}}
                    served = self.doc(requestBody={"content": content})(served)
            if query is not None:
                served = self.arguments(query, location="query")(served)
            served = _guarded(served, needs, in_own_scope, admits)
            if needs is not None or security is not None:
                served = self.doc(security=security or [{"bearer": []}])(served)
            if tagged:
                served._apidoc["etag"] = True
            self.route(rule, methods=[method], endpoint=view.__name__)(served)
            return view

        return decorate

    def described(
        self, method: Method, rule: str, description: Mapping[str, Any]
    ) -> Callable[[View], View]:
        """Serve a function of a protocol that others wrote, as its own words describe it.

        Args:
            method: the method.
            rule: the address.
            description: the operation in OpenAPI's form.
        """

        def decorate(view: View) -> View:
            served = self.doc(**description)(view)
            self.route(rule, methods=[method], endpoint=view.__name__)(served)
            return view

        return decorate


def _refusals(
    method: Method,
    needs: Role | None,
    body: SchemaClass | None,
    query: SchemaClass | None,
    rule: str,
    more: tuple[HTTPStatus, ...],
) -> list[HTTPStatus]:
    found = set(more)
    if needs is not None:
        found |= {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.SERVICE_UNAVAILABLE}
    if "<" in rule:
        found.add(HTTPStatus.NOT_FOUND)
    if method != "GET":
        found |= {HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY}
        found |= {HTTPStatus.PRECONDITION_FAILED} if method == "POST" else set()
    if query is not None:
        found.add(HTTPStatus.UNPROCESSABLE_ENTITY)
    if body is not None:
        found |= {
            HTTPStatus.BAD_REQUEST,
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        }
    return sorted(found)


def _guarded(
    view: Callable[..., Response],
    needs: Role | None,
    in_own_scope: bool,
    admits: Callable[..., None] | None,
) -> Callable[..., Response]:
    """Let a request in only when its token may; documentation stays on the function."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Response:
        if needs is not None:
            token = backend().authenticator.token_of_request()
            if needs is Role.SDK:
                require_sdk(token)
            elif in_own_scope:
                require(token, needs, token.project, token.environment)
            else:
                require(token, needs, kwargs.get("project"), kwargs.get("environment"))
            g.token = token
        elif admits is not None:
            admits(**kwargs)
        return view(*args, **kwargs)

    guarded.needs = needs  # type: ignore[attr-defined]
    return guarded
