"""Webhooks: URLs that Tidegate sends messages to, or asks for confirmation."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response

from tidegate_server.admin.document_commits import replace_document, with_key
from tidegate_server.admin.document_reader import read_document, read_project
from tidegate_server.admin.document_resource import DocumentResource
from tidegate_server.admin.releases.schemas import ActionBody, ActionRequest
from tidegate_server.admin.webhooks import service
from tidegate_server.admin.webhooks.schemas import (
    DeliveryPage,
    NewWebhookAnswer,
    WebhookAnswer,
    WebhookBody,
    WebhookPage,
    WebhookUpdate,
)
from tidegate_server.domain.change import Kind, Stored
from tidegate_server.domain.project_documents import webhook_address
from tidegate_server.domain.tokens import Role
from tidegate_server.domain.webhook_edits import delete_webhook, put_webhook
from tidegate_server.domain.webhooks import Webhook
from tidegate_server.web import responses
from tidegate_server.web.backend import backend, current_actor, current_token
from tidegate_server.web.blueprint import Blueprint
from tidegate_server.web.etags import read_if_match
from tidegate_server.web.pagination import PageQuery, PageRequest, encode_cursor, paginate

blueprint = Blueprint(
    "webhooks", __name__, description="URLs that Tidegate sends messages to, or asks to confirm"
)

webhooks = DocumentResource(blueprint, Kind.WEBHOOK, WebhookAnswer, WebhookPage)


def answer(stored: Stored) -> Response:
    """Answer with a webhook as the request's token may see it."""
    if current_token().role is Role.READER:
        visible = service.without_path(stored)
        return responses.document(WebhookAnswer(), visible, stored.revision, suffix="reader")
    return responses.document(WebhookAnswer(), stored, stored.revision)


@blueprint.operation(
    "GET", webhooks.collection, role=Role.READER, query=PageQuery, response=WebhookPage
)
def list_webhooks(page: PageRequest, project: str) -> Response:
    """List the webhooks of a project, without their secrets."""
    store = backend().store
    read_project(store, project)
    stored_webhooks = store.all(project, Kind.WEBHOOK)
    if current_token().role is Role.READER:
        stored_webhooks = {
            key: service.without_path(stored) for key, stored in stored_webhooks.items()
        }
    return responses.page(WebhookPage(), *paginate(stored_webhooks, page))


@blueprint.operation(
    "POST",
    webhooks.collection,
    role=Role.WRITER,
    body=WebhookBody,
    response=NewWebhookAnswer,
    status=HTTPStatus.CREATED,
)
def create_webhook(new: Webhook, project: str) -> Response:
    """Create a webhook. Only this answer shows its signing `secret`."""
    stored = service.create_webhook(
        backend().store, backend().settings.secret_key, project, new, current_actor()
    )
    return responses.created(
        NewWebhookAnswer(),
        stored,
        stored.revision,
        "webhooks.get_webhook",
        project=project,
        webhook=new.key,
    )


@blueprint.operation("GET", webhooks.item, role=Role.READER, response=WebhookAnswer)
def get_webhook(project: str, webhook: str) -> Response:
    """Get a webhook, without its secret."""
    return answer(read_document(backend().store, project, webhook_address(webhook)))


@blueprint.operation(
    "PUT", webhooks.item, role=Role.WRITER, body=WebhookUpdate, response=WebhookAnswer
)
def replace_webhook(changed: Webhook, project: str, webhook: str) -> Response:
    """Replace a webhook. It keeps its secret; queued messages go to the new URL."""
    actor, new = current_actor(), with_key(changed, webhook)
    stored = replace_document(
        backend().store,
        project,
        webhook_address(webhook),
        read_if_match(),
        lambda documents: put_webhook(documents, new, actor=actor),
    )
    return answer(stored)


@blueprint.operation("POST", f"{webhooks.item}/rotate", role=Role.WRITER, response=NewWebhookAnswer)
def rotate_webhook_secret(project: str, webhook: str) -> Response:
    """Sign with a new secret, shown only in this answer, and for a day with the old one too."""
    stored = service.rotate_secret(
        backend().store, backend().settings.secret_key, project, webhook, current_actor()
    )
    return responses.document(NewWebhookAnswer(), stored, stored.revision)


@blueprint.operation(
    "POST",
    f"{webhooks.item}/test",
    role=Role.WRITER,
    body=ActionBody,
    response=None,
    status=HTTPStatus.NO_CONTENT,
)
def try_webhook(test: ActionRequest, project: str, webhook: str) -> Response:
    """Queue a message whose event is `test`; its delivery shows whether it arrived."""
    service.queue_test_message(backend().store, project, webhook, current_actor(), test.reason)
    return responses.no_content()


@blueprint.operation(
    "GET", f"{webhooks.item}/deliveries", role=Role.READER, query=PageQuery, response=DeliveryPage
)
def list_deliveries(page: PageRequest, project: str, webhook: str) -> Response:
    """List a webhook's deliveries, the latest first: those that wait and the last that ended."""
    store = backend().store
    read_document(store, project, webhook_address(webhook))
    deliveries, following = store.outbox().page(project, webhook, page.after or None, page.limit)
    return responses.page(DeliveryPage(), deliveries, encode_cursor(following))


webhooks.serve_delete(delete_webhook, "Delete a webhook that no policy uses.")
