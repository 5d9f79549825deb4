"""Sessions: where people are signed in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from flask import Response, g
from marshmallow import ValidationError, fields, post_load, validates_schema

from tidegate_server.admin.access_documents import present_access
from tidegate_server.admin.sessions import service
from tidegate_server.admin.sign_in.schemas import SessionAnswer
from tidegate_server.documents.fields import Key, StrictInteger, query_boolean
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.domain.sessions import Session
from tidegate_server.web import responses
from tidegate_server.web.backend import backend, current_caller
from tidegate_server.web.blueprint import SERVER_PREFIX, Blueprint, Who
from tidegate_server.web.document_schemas import page_schema
from tidegate_server.web.pagination import PageQuery, PageRequest, paginate
from tidegate_server.web.reasons import current_reason

blueprint = Blueprint("sessions", __name__, description="Where people are signed in")

COLLECTION = f"{SERVER_PREFIX}/sessions"


@dataclass(frozen=True, slots=True)
class ListedSession:
    """A session, and the email of its person."""

    session: Session
    email: str


class SessionItem(SessionAnswer):
    """A session in a list."""

    current = fields.Boolean(
        required=True, metadata={"description": "whether it is the one of this request"}
    )
    email = fields.String(required=True, metadata={"description": "of the person"})

    def get_attribute(self, obj: Any, attr: str, default: Any) -> Any:
        """Say which session is the one of this request, and whose each is."""
        listed: ListedSession = obj
        if attr == "email":
            return listed.email
        if attr == "current":
            session: Session | None = g.session
            return session is not None and session.id == listed.session.id
        return super().get_attribute(listed.session, attr, default)


SessionPage = page_schema("SessionPage", SessionItem)


class PersonQuery(Strict):
    """Whose sessions."""

    person = Key(
        load_default="", metadata={"description": "the id of a person; by default your own"}
    )


class SessionsQuery(PersonQuery, PageQuery):
    """A page of whose sessions."""

    everyone = query_boolean("true: of everyone who may do nothing that you may not")

    @validates_schema
    def check(self, data: Mapping[str, Any], **_: Any) -> None:
        """Check that it names one person or everyone."""
        if data["everyone"] and data["person"]:
            raise ValidationError("Name a person, or everyone, and not both.", "everyone")

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the person, whether everyone is asked for, and the page."""
        page = PageRequest(data["cursor"], data["limit"])
        return data["person"], data["everyone"], page


class EndedAnswer(Strict):
    """How many sessions were ended."""

    ended = StrictInteger(required=True)


@blueprint.operation(
    "GET",
    COLLECTION,
    permission=None,
    who=Who.CALLER,
    query=SessionsQuery,
    response=SessionPage,
    errors=(HTTPStatus.NOT_FOUND,),
)
def list_sessions(query: tuple[str, bool, PageRequest]) -> Response:
    """List your sessions, those of a person, or those of everyone.

    Others are listed if they may do nothing that you may not. The last used is the first.
    """
    person, everyone, page = query
    caller = current_caller()
    found = (
        service.sessions_of_everyone(caller) if everyone else service.sessions_of(caller, person)
    )
    people = present_access(backend().store).people
    by_use = {
        f"{10**15 - each.last_seen_ms:016d} {each.id}": ListedSession(
            each, people[each.person].document.email if each.person in people else ""
        )
        for each in found
    }
    return responses.page(SessionPage(), *paginate(by_use, page))


@blueprint.operation(
    "DELETE",
    f"{COLLECTION}/<key:session>",
    permission=None,
    who=Who.CALLER,
    query=PersonQuery,
    response=None,
    status=HTTPStatus.NO_CONTENT,
    etag=False,
)
def end_session(query: dict[str, str], session: str) -> Response:
    """End a session. It stops working within two seconds."""
    service.end_session(current_caller(), query["person"], session, current_reason())
    return responses.no_content()


@blueprint.operation(
    "DELETE",
    COLLECTION,
    permission=None,
    who=Who.CALLER,
    query=PersonQuery,
    response=EndedAnswer,
    etag=False,
    errors=(HTTPStatus.NOT_FOUND,),
)
def end_other_sessions(query: dict[str, str]) -> Response:
    """End all your sessions but this one, or all of a person."""
    current = g.session.id if g.session is not None else ""
    ended = service.end_sessions(current_caller(), query["person"], current, current_reason())
    return responses.value(EndedAnswer(), {"ended": ended})
