"""Webhooks: whom policies tell what happened, and whom they ask before they go on."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response

from tidegate_server.admin import document_edits, document_reader
from tidegate_server.admin.releases.schemas import ActionBody, ActionRequest
from tidegate_server.admin.webhooks import service
from tidegate_server.admin.webhooks.schemas import (
    DeliveryPage,
    NewWebhookAnswer,
    WebhookAnswer,
    WebhookBody,
    WebhookPage,
    WebhookRequest,
    WebhookUpdate,
)
from tidegate_server.domain.change import Kind, Stored
from tidegate_server.domain.project_documents import webhook_address
from tidegate_server.domain.tokens import Role
from tidegate_server.web import responses
from tidegate_server.web.backend import backend, current_actor, current_token
from tidegate_server.web.blueprint import PROJECT, Blueprint
from tidegate_server.web.pagination import PageQuery, PageRequest, encode_cursor, paginate

blueprint = Blueprint("webhooks", __name__, description="Whom policies tell and ask")

LIST = f"{PROJECT}/webhooks"
ONE = f"{LIST}/<key:webhook>"


def answer(stored: Stored) -> Response:
    """A webhook as the present token may see it."""
    if current_token().role is Role.READER:
        shown = service.for_readers(stored)
        return responses.document(WebhookAnswer(), shown, stored.revision, suffix="reader")
    return responses.document(WebhookAnswer(), stored, stored.revision)


@blueprint.operation("GET", LIST, role=Role.READER, query=PageQuery, response=WebhookPage)
def list_webhooks(asked: PageRequest, project: str) -> Response:
    """List the project's webhooks, without their secrets."""
    store = backend().store
    document_reader.project_of(store, project)
    found = store.all(project, Kind.WEBHOOK)
    if current_token().role is Role.READER:
        found = {key: service.for_readers(stored) for key, stored in found.items()}
    return responses.page(WebhookPage(), *paginate(found, asked))


@blueprint.operation(
    "POST",
    LIST,
    role=Role.WRITER,
    body=WebhookBody,
    response=NewWebhookAnswer,
    status=HTTPStatus.CREATED,
)
def create_webhook(asked: WebhookRequest, project: str) -> Response:
    """Create a webhook. Its signing `secret` is in this answer only."""
    made = service.create(
        backend().store, backend().settings.secret_key, project, asked, current_actor()
    )
    return responses.created(
        NewWebhookAnswer(),
        made,
        made.stored.revision,
        "webhooks.get_webhook",
        project=project,
        webhook=asked.key,
    )


@blueprint.operation("GET", ONE, role=Role.READER, response=WebhookAnswer)
def get_webhook(project: str, webhook: str) -> Response:
    """Read a webhook, without its secret."""
    return answer(document_reader.document_of(backend().store, project, webhook_address(webhook)))


@blueprint.operation("PUT", ONE, role=Role.WRITER, body=WebhookUpdate, response=WebhookAnswer)
def replace_webhook(asked: WebhookRequest, project: str, webhook: str) -> Response:
    """Replace a webhook; its secret stays, and what is waiting goes to the new address."""
    after = document_edits.with_key(asked, webhook)
    return answer(service.replace_one(backend().store, project, after, current_actor()))


@blueprint.operation("POST", f"{ONE}/rotate", role=Role.WRITER, response=NewWebhookAnswer)
def rotate_webhook_secret(project: str, webhook: str) -> Response:
    """Sign with another secret, which is in this answer only; the old one signs along for a day."""
    made = service.rotate(
        backend().store, backend().settings.secret_key, project, webhook, current_actor()
    )
    return responses.document(NewWebhookAnswer(), made, made.stored.revision)


@blueprint.operation(
    "POST",
    f"{ONE}/test",
    role=Role.WRITER,
    body=ActionBody,
    response=None,
    status=HTTPStatus.NO_CONTENT,
)
def queue_test_message(asked: ActionRequest, project: str, webhook: str) -> Response:
    """Queue a message whose event is `test`; `deliveries` tells whether it arrived."""
    service.try_out(backend().store, project, webhook, current_actor(), asked.reason)
    return responses.no_content()


@blueprint.operation(
    "GET", f"{ONE}/deliveries", role=Role.READER, query=PageQuery, response=DeliveryPage
)
def list_deliveries(asked: PageRequest, project: str, webhook: str) -> Response:
    """List a webhook's messages, the latest first: what waits, and the last that were settled."""
    store = backend().store
    document_reader.document_of(store, project, webhook_address(webhook))
    found, following = store.outbox().page(project, webhook, asked.after or None, asked.limit)
    return responses.page(DeliveryPage(), found, encode_cursor(following))


@blueprint.operation("DELETE", ONE, role=Role.WRITER, response=None, status=HTTPStatus.NO_CONTENT)
def delete_webhook(project: str, webhook: str) -> Response:
    """Delete a webhook that no policy names."""
    service.delete(backend().store, project, webhook, current_actor())
    return responses.no_content()
