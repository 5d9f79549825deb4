"""Create webhooks, and give them new secrets."""

from __future__ import annotations

import secrets
from dataclasses import replace

from tidegate_server.admin.commit_with_retry import commit_with_retry
from tidegate_server.admin.document_commits import (
    StoredWithSecret,
    create_document,
    with_secret,
)
from tidegate_server.admin.document_reader import read_project_documents
from tidegate_server.domain import webhook_edits
from tidegate_server.domain.change import Change, Stored
from tidegate_server.domain.network_addresses import AllowedNetworks
from tidegate_server.domain.project_documents import webhook_address
from tidegate_server.domain.webhooks import Format, Webhook
from tidegate_server.errors import FieldProblem, Invalid
from tidegate_server.store import Store
from tidegate_server.web.settings import ApiSettings
from tidegate_server.webhooks.signing import signing_secret

ID_BYTES = 16


def create_webhook(
    store: Store,
    secret_key: bytes,
    project: str,
    webhook: Webhook,
    actor: str,
    reason: str,
    networks: AllowedNetworks,
) -> StoredWithSecret:
    """Create a webhook with a new signing secret; raises ``AlreadyExists`` and ``Invalid``."""
    new = replace(webhook, secret_id=secrets.token_hex(ID_BYTES))
    stored = create_document(
        store,
        project,
        webhook_address(new.key),
        lambda documents: webhook_edits.put_webhook(
            documents, new, actor=actor, reason=reason, networks=networks
        ),
    )
    return with_secret(stored, signing_secret(secret_key, new.secret_id))


def check_mail_server(webhook: Webhook, settings: ApiSettings) -> None:
    """Refuse mail from a server that sends none; raises ``Invalid``."""
    if webhook.format is Format.EMAIL and webhook.enabled and not settings.sends_mail:
        message = (
            "This server sends no mail. Its operator names a mail server with "
            "TIDEGATE_SMTP_SERVER and TIDEGATE_SMTP_FROM."
        )
        raise Invalid(message, FieldProblem("/format", message))


def rotate_secret(
    store: Store, secret_key: bytes, project: str, key: str, actor: str, reason: str
) -> StoredWithSecret:
    """Give a webhook a new signing secret; raises ``NotFound``."""
    secret_id = secrets.token_hex(ID_BYTES)

    def make_change() -> Change:
        documents = read_project_documents(store, project)
        now_ms = store.now_ms()
        return webhook_edits.rotate_secret(
            documents, key, secret_id, actor=actor, now_ms=now_ms, reason=reason
        )

    stored = commit_with_retry(store, make_change).stored(webhook_address(key))
    return with_secret(stored, signing_secret(secret_key, secret_id))


def queue_test_message(store: Store, project: str, key: str, actor: str, reason: str) -> None:
    """Queue a message whose event is ``test``; raises ``NotFound``."""

    def make_change() -> Change:
        documents = read_project_documents(store, project)
        now_ms = store.now_ms()
        return webhook_edits.queue_test_message(
            documents, key, actor=actor, now_ms=now_ms, reason=reason
        )

    commit_with_retry(store, make_change)


def without_path(stored: Stored) -> Stored:
    """Return a webhook as readers may see it: the path of its URL may be a credential."""
    webhook: Webhook = stored.document
    return replace(stored, document=replace(webhook, url=f"{webhook.origin}/…"))
