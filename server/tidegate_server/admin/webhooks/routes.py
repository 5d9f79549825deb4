"""Webhooks: URLs that Tidegate sends messages to, or asks for confirmation."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response, request

from tidegate_server.admin.action_schemas import ActionBody, ActionRequest
from tidegate_server.admin.document_reader import read_document
from tidegate_server.admin.document_resource import DocumentResource
from tidegate_server.admin.webhooks import service
from tidegate_server.admin.webhooks.schemas import (
    DeliveryPage,
    DeliveryToShow,
    DeliveryWithBody,
    NewWebhookAnswer,
    WebhookAnswer,
    WebhookBody,
    WebhookPage,
    WebhookUpdate,
)
from tidegate_server.domain.change import Change, Stored
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.permissions import Permission
from tidegate_server.domain.project_documents import ProjectDocuments, webhook_address
from tidegate_server.domain.webhook_edits import delete_webhook, put_webhook
from tidegate_server.domain.webhooks import Webhook
from tidegate_server.errors import NotFound
from tidegate_server.web import responses
from tidegate_server.web.backend import backend, current_actor, current_caller
from tidegate_server.web.blueprint import Blueprint
from tidegate_server.web.pagination import PageQuery, PageRequest, encode_cursor
from tidegate_server.web.reasons import current_reason
from tidegate_server.webhooks.messages import shown_body

blueprint = Blueprint(
    "webhooks", __name__, description="URLs that Tidegate sends messages to, or asks to confirm"
)


def visible_webhook(stored: Stored) -> Stored:
    """Return a webhook as the caller may see it."""
    project = (request.view_args or {})["project"]
    may_write = current_caller().has_anywhere(Permission.WRITE, project)
    return stored if may_write else service.without_path(stored)


webhooks = DocumentResource(
    blueprint, Kind.WEBHOOK, WebhookAnswer, WebhookPage, visible=visible_webhook
)


def put_reachable_webhook(
    documents: ProjectDocuments, webhook: Webhook, *, actor: str, reason: str
) -> Change:
    """Return the change that puts a webhook, within the networks of the server's settings."""
    service.check_mail_server(webhook, backend().settings)
    networks = backend().settings.webhook_networks
    return put_webhook(documents, webhook, actor=actor, reason=reason, networks=networks)


webhooks.serve_list("List the webhooks of a project, without their secrets.")
webhooks.serve_get("Get a webhook, without its secret.")
webhooks.serve_replace(
    WebhookUpdate,
    put_reachable_webhook,
    "Replace a webhook. It keeps its secret; queued messages go to the new URL.",
)
webhooks.serve_history(put_reachable_webhook)
webhooks.serve_delete(delete_webhook, "Delete a webhook that no policy uses.")


@blueprint.operation(
    "POST",
    webhooks.collection,
    permission=Permission.WRITE,
    body=WebhookBody,
    response=NewWebhookAnswer,
    status=HTTPStatus.CREATED,
)
def create_webhook(new: Webhook, project: str) -> Response:
    """Create a webhook. Only this answer shows its signing `secret`."""
    settings = backend().settings
    service.check_mail_server(new, settings)
    stored = service.create_webhook(
        backend().store,
        settings.secret_key,
        project,
        new,
        current_actor(),
        current_reason(),
        settings.webhook_networks,
    )
    return responses.created(
        NewWebhookAnswer(),
        stored,
        stored.revision,
        "webhooks.get_webhook",
        project=project,
        webhook=new.key,
    )


@blueprint.operation(
    "POST", f"{webhooks.item}/rotate", permission=Permission.WRITE, response=NewWebhookAnswer
)
def rotate_webhook_secret(project: str, webhook: str) -> Response:
    """Sign with a new secret, shown only in this answer, and for a day with the old one too."""
    stored = service.rotate_secret(
        backend().store,
        backend().settings.secret_key,
        project,
        webhook,
        current_actor(),
        current_reason(),
    )
    return responses.document(NewWebhookAnswer(), stored, stored.revision)


@blueprint.operation(
    "POST",
    f"{webhooks.item}/test",
    permission=Permission.WRITE,
    body=ActionBody,
    response=None,
    status=HTTPStatus.NO_CONTENT,
)
def try_webhook(test: ActionRequest, project: str, webhook: str) -> Response:
    """Queue a message whose event is `test`; its delivery shows whether it arrived."""
    reason = current_reason(test.reason)
    service.queue_test_message(backend().store, project, webhook, current_actor(), reason)
    return responses.no_content()


@blueprint.operation(
    "GET",
    f"{webhooks.item}/deliveries",
    permission=Permission.READ,
    query=PageQuery,
    response=DeliveryPage,
)
def list_deliveries(page: PageRequest, project: str, webhook: str) -> Response:
    """List a webhook's deliveries, the latest first: those that wait and the last that ended."""
    store = backend().store
    read_document(store, project, webhook_address(webhook))
    deliveries, following = store.outbox.page(project, webhook, page.after or None, page.limit)
    return responses.page(DeliveryPage(), deliveries, encode_cursor(following))


@blueprint.operation(
    "GET",
    f"{webhooks.item}/deliveries/<key:delivery>",
    permission=Permission.READ,
    response=DeliveryWithBody,
    etag=False,
)
def get_delivery(project: str, webhook: str, delivery: str) -> Response:
    """Get a delivery with the message that is sent."""
    store = backend().store
    to: Webhook = read_document(store, project, webhook_address(webhook)).document
    found = store.outbox.delivery(project, webhook, delivery)
    if found is None:
        raise NotFound(f"There is no delivery {delivery!r}; only the last ones are kept.")
    event, public_url = found.record.notice, backend().settings.public_url
    body = shown_body(to, project, found.id, event, public_url)
    shown = DeliveryToShow(found.id, found.record, found.due_ms, body)
    return responses.value(DeliveryWithBody(), shown)
