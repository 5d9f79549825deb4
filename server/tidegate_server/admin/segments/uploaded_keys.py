"""The keys that are uploaded to segments: upload, download and look-up; and what uses a segment."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

from flask import Flask, Response, current_app, request
from tidegate.evaluation.key_sets import HASH_BYTES, key_hash
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType

from tidegate_server.admin.document_reader import read_document, read_project_documents
from tidegate_server.admin.segments.routes import blueprint
from tidegate_server.admin.segments.schemas import (
    ListQuery,
    LookupAnswer,
    LookupBody,
    SegmentUsesAnswer,
    UploadAnswer,
    UploadQuery,
)
from tidegate_server.admin.segments.uploads import (
    MAX_TEXT,
    Upload,
    UploadTurns,
    upload,
)
from tidegate_server.documents.key_streams import PIECE, KeyFormat
from tidegate_server.domain.change import Address
from tidegate_server.domain.flags import SegmentDefinition
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.permissions import Permission
from tidegate_server.domain.references import uses_of_segment
from tidegate_server.domain.segment_edits import LISTS, key_set_of
from tidegate_server.errors import NotFound
from tidegate_server.store import Store
from tidegate_server.store.key_sets import StoredHashes
from tidegate_server.web import responses
from tidegate_server.web.backend import backend, current_actor, current_caller
from tidegate_server.web.blueprint import PROJECT
from tidegate_server.web.etags import client_has, read_if_match, with_etag
from tidegate_server.web.reasons import current_reason

SEGMENT = f"{PROJECT}/segments/<key:segment>"
NDJSON = KeyFormat.NDJSON.value
EXTENSION = "tidegate.uploads"

KEYS = {
    KeyFormat.LINES.value: {"schema": {"type": "string", "description": "one key on each line"}},
    NDJSON: {
        "schema": {"type": "string", "description": "a string, or an object with the key, per line"}
    },
    KeyFormat.CSV.value: {
        "schema": {"type": "string", "description": "the first line names the columns"}
    },
}
HASHES = {
    "type": "string",
    "description": "the first line is an object with the list, its salt, digest and count; each "
    "further one is a hash: the first 16 hexadecimal digits of the SHA-256 of salt:key",
}


def install(app: Flask) -> None:
    """Give an application its limits of uploads."""
    app.extensions[EXTENSION] = UploadTurns()


@blueprint.operation(
    "POST",
    f"{SEGMENT}/keys",
    permission=Permission.WRITE,
    query=UploadQuery,
    response=UploadAnswer,
    etag=False,
    streamed_body=KEYS,
)
def upload_segment_keys(query: Mapping[str, Any], project: str, segment: str) -> Response:
    """Upload keys to a list of a segment, as lines, NDJSON or CSV, also with gzip.

    All of them take effect at once, when all have come; the server keeps their hashes only. To
    send the same again changes nothing. With `If-Match`, the segment must still have that ETag.
    """
    form = _form()
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding not in ("identity", "gzip"):
        raise UnsupportedMediaType("Send the body without a Content-Encoding, or with gzip.")
    what = Upload(form=form, gzip=encoding == "gzip", **query)
    turns = cast(UploadTurns, current_app.extensions[EXTENSION])
    with turns.turn(current_caller().id):
        result = upload(
            backend().store,
            project,
            segment,
            _pieces(),
            what,
            read_if_match(),
            actor=current_actor(),
            reason=current_reason(),
            secret_key=backend().settings.secret_key,
        )
    return responses.value(UploadAnswer(), result)


@blueprint.operation(
    "GET",
    f"{SEGMENT}/keys",
    permission=Permission.READ,
    query=ListQuery,
    response=HASHES,
    content_type=NDJSON,
)
def download_segment_keys(query: Mapping[str, Any], project: str, segment: str) -> Response:
    """Download the hashes of the uploaded keys of a list, as NDJSON; the keys are not kept."""
    store, name = backend().store, query["list"]
    found = key_set_of(_read_segment(store, project, segment), name)
    if found is None:
        raise NotFound(f"No keys were uploaded to the {name} list of segment {segment!r}.")
    if client_has(found.digest):
        return with_etag(Response(content_type=NDJSON), found.digest)
    chunks = store.key_sets.chunks(project, found.digest)
    begin = {"list": name, "salt": found.salt, "digest": found.digest, "count": found.count}
    first = next(chunks)  # an error here still has a status

    def lines() -> Iterator[str]:
        yield json.dumps(begin) + "\n"
        yield _hash_lines(first)
        for several in chunks:
            yield _hash_lines(several)

    return with_etag(Response(lines(), content_type=NDJSON), found.digest)


@blueprint.operation(
    "POST",
    f"{SEGMENT}/keys/lookup",
    permission=Permission.READ,
    body=LookupBody,
    response=LookupAnswer,
    etag=False,
)
def look_up_segment_keys(body: Mapping[str, Any], project: str, segment: str) -> Response:
    """Tell in which lists of a segment targeting keys are, listed or uploaded."""
    store = backend().store
    definition = _read_segment(store, project, segment)
    items = [
        {"key": key, **{each: _has(store, project, definition, each, key) for each in LISTS}}
        for key in body["keys"]
    ]
    return responses.value(LookupAnswer(), {"items": items})


@blueprint.operation(
    "GET",
    f"{SEGMENT}/used-by",
    permission=Permission.READ,
    response=SegmentUsesAnswer,
)
def get_segment_uses(project: str, segment: str) -> Response:
    """List what names a segment: rules, other segments, and stages of policies and releases."""
    documents = read_project_documents(backend().store, project)
    documents.segment(segment)
    items = list(uses_of_segment(documents, segment))
    return responses.value_with_etag(SegmentUsesAnswer(), {"items": items})


def _read_segment(store: Store, project: str, segment: str) -> SegmentDefinition:
    document: SegmentDefinition = read_document(
        store, project, Address(Kind.SEGMENT, segment)
    ).document
    return document


def _has(store: Store, project: str, segment: SegmentDefinition, list: str, key: str) -> bool:
    if key in getattr(segment, list):
        return True
    found = key_set_of(segment, list)
    if found is None:
        return False
    hashes = StoredHashes(store.key_sets, project, found.digest)
    return hashes.has(key_hash(f"{found.salt}:{key}"))


def _hash_lines(chunks: list[bytes]) -> str:
    content = b"".join(chunks)
    places = range(0, len(content), HASH_BYTES)
    return "".join(f'{{"hash":"{content[at : at + HASH_BYTES].hex()}"}}\n' for at in places)


def _form() -> KeyFormat:
    try:
        return KeyFormat(request.mimetype)
    except ValueError:
        known = ", ".join(KeyFormat)
        raise UnsupportedMediaType(
            f"Send the keys as Content-Type: {known}; the Content-Type is "
            f"{request.mimetype or 'missing'}."
        ) from None


def _pieces() -> Iterator[bytes]:
    """Yield the body of the request as it arrives.

    Raises:
        BadRequest: it ended before its announced length.
    """
    request.max_content_length = MAX_TEXT
    received = 0
    try:
        stream = request.stream
        while piece := stream.read(PIECE):
            received += len(piece)
            yield piece
    except RequestEntityTooLarge:
        raise RequestEntityTooLarge(
            f"The body is too long: at most {MAX_TEXT // 1024**2} MB are allowed here."
        ) from None
    # The web server takes a connection that ends for the end of the body.
    if request.content_length is not None and received != request.content_length:
        raise BadRequest("The body broke off, so nothing was changed. Send it again.")
