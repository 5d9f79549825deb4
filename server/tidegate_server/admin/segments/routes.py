"""Segments: named sets of contexts."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response

from tidegate_server.admin import document_edits, document_reader
from tidegate_server.admin.segments.schemas import (
    SegmentAnswer,
    SegmentBody,
    SegmentPage,
    SegmentUpdate,
)
from tidegate_server.domain.change import Address, Kind
from tidegate_server.domain.flags import SegmentDefinition
from tidegate_server.domain.tokens import Role
from tidegate_server.web import responses
from tidegate_server.web.backend import backend, current_actor
from tidegate_server.web.blueprint import PROJECT, Blueprint
from tidegate_server.web.pagination import PageQuery, PageRequest, paginate

blueprint = Blueprint("segments", __name__, description="Named sets of contexts")

LIST = f"{PROJECT}/segments"
ONE = f"{LIST}/<key:segment>"


@blueprint.operation("GET", LIST, role=Role.READER, query=PageQuery, response=SegmentPage)
def list_segments(asked: PageRequest, project: str) -> Response:
    """List the project's segments."""
    store = backend().store
    document_reader.project_of(store, project)
    return responses.page(SegmentPage(), *paginate(store.all(project, Kind.SEGMENT), asked))


@blueprint.operation(
    "POST",
    LIST,
    role=Role.WRITER,
    body=SegmentBody,
    response=SegmentAnswer,
    status=HTTPStatus.CREATED,
)
def create_segment(asked: SegmentDefinition, project: str) -> Response:
    """Create a segment."""
    stored = document_edits.create_segment(backend().store, project, asked, current_actor())
    return responses.created(
        SegmentAnswer(),
        stored,
        stored.revision,
        "segments.get_segment",
        project=project,
        segment=asked.key,
    )


@blueprint.operation("GET", ONE, role=Role.READER, response=SegmentAnswer)
def get_segment(project: str, segment: str) -> Response:
    """Read a segment."""
    stored = document_reader.document_of(backend().store, project, Address(Kind.SEGMENT, segment))
    return responses.document(SegmentAnswer(), stored, stored.revision)


@blueprint.operation("PUT", ONE, role=Role.WRITER, body=SegmentUpdate, response=SegmentAnswer)
def replace_segment(asked: SegmentDefinition, project: str, segment: str) -> Response:
    """Replace a segment, at once for all that refer to it."""
    after = document_edits.with_key(asked, segment)
    stored = document_edits.replace_segment(backend().store, project, after, current_actor())
    return responses.document(SegmentAnswer(), stored, stored.revision)


@blueprint.operation("DELETE", ONE, role=Role.WRITER, response=None, status=HTTPStatus.NO_CONTENT)
def delete_segment(project: str, segment: str) -> Response:
    """Delete a segment that nothing refers to."""
    document_edits.delete_segment(backend().store, project, segment, current_actor())
    return responses.no_content()
