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
from tidegate_server.web.backend import backend, present_actor
from tidegate_server.web.blueprint import PROJECT, Blueprint
from tidegate_server.web.pagination import PageQuery, PageRequest, page_of

blueprint = Blueprint("segments", __name__, description="Named sets of contexts")

LIST = f"{PROJECT}/segments"
ONE = f"{LIST}/<key:segment>"


@blueprint.operation("GET", LIST, needs=Role.READER, query=PageQuery, answer=SegmentPage)
def list_segments(asked: PageRequest, project: str) -> Response:
    """List the project's segments."""
    store = backend().store
    document_reader.project_of(store, project)
    return responses.of_page(SegmentPage(), *page_of(store.all(project, Kind.SEGMENT), asked))


@blueprint.operation(
    "POST",
    LIST,
    needs=Role.WRITER,
    body=SegmentBody,
    answer=SegmentAnswer,
    status=HTTPStatus.CREATED,
)
def create_segment(asked: SegmentDefinition, project: str) -> Response:
    """Create a segment."""
    stored = document_edits.create_segment(backend().store, project, asked, present_actor())
    return responses.created(
        SegmentAnswer(),
        stored,
        stored.revision,
        "segments.get_segment",
        project=project,
        segment=asked.key,
    )


@blueprint.operation("GET", ONE, needs=Role.READER, answer=SegmentAnswer)
def get_segment(project: str, segment: str) -> Response:
    """Read a segment."""
    stored = document_reader.document_of(backend().store, project, Address(Kind.SEGMENT, segment))
    return responses.of_document(SegmentAnswer(), stored, stored.revision)


@blueprint.operation("PUT", ONE, needs=Role.WRITER, body=SegmentUpdate, answer=SegmentAnswer)
def replace_segment(asked: SegmentDefinition, project: str, segment: str) -> Response:
    """Replace a segment, at once for all that refer to it."""
    after = document_edits.with_key(asked, segment)
    stored = document_edits.replace_segment(backend().store, project, after, present_actor())
    return responses.of_document(SegmentAnswer(), stored, stored.revision)


@blueprint.operation("DELETE", ONE, needs=Role.WRITER, answer=None, status=HTTPStatus.NO_CONTENT)
def delete_segment(project: str, segment: str) -> Response:
    """Delete a segment that nothing refers to."""
    document_edits.delete_segment(backend().store, project, segment, present_actor())
    return responses.nothing()
