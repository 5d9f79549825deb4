"""Making webhooks, changing them, and giving them other secrets."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace

from tidegate_server.admin.commit_with_retry import commit_with_retry
from tidegate_server.admin.document_reader import whole_project
from tidegate_server.admin.webhooks.schemas import WebhookRequest
from tidegate_server.domain import webhook_edits
from tidegate_server.domain.change import Change, Stored
from tidegate_server.domain.project_documents import webhook_address
from tidegate_server.domain.webhooks import Webhook
from tidegate_server.errors import AlreadyExists
from tidegate_server.store import Store
from tidegate_server.web.etags import require_if_match
from tidegate_server.webhooks.signing import signing_secret

ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """A webhook with a secret that was just made, and is derived again when something is sent."""

    stored: Stored
    secret: str


def create(
    store: Store, secret_key: bytes, project: str, asked: WebhookRequest, actor: str
) -> NewWebhook:
    """Create a webhook; raises ``AlreadyExists`` and ``Invalid``."""
    new = _webhook(asked, secrets.token_hex(ID_BYTES))

    def make() -> Change:
        documents = whole_project(store, project)
        if new.key in documents.webhooks:
            raise AlreadyExists(f"There is a webhook {new.key!r} already.")
        return webhook_edits.put_webhook(documents, new, actor=actor)

    stored = commit_with_retry(store, make).stored(webhook_address(new.key))
    return NewWebhook(stored, signing_secret(secret_key, new.secret_id))


def replace_one(store: Store, project: str, asked: WebhookRequest, actor: str) -> Stored:
    """Change a webhook; its secret stays.

    Raises:
        NotFound: there is no such one.
        Invalid: it cannot be.
        NotPossible: a policy waits for its answers, which its new format has none of.
    """

    def make() -> Change:
        documents = whole_project(store, project)
        require_if_match(documents.webhook(asked.key).revision, f"webhook {asked.key}")
        return webhook_edits.put_webhook(documents, _webhook(asked, ""), actor=actor)

    return commit_with_retry(store, make).stored(webhook_address(asked.key))


def rotate(store: Store, secret_key: bytes, project: str, key: str, actor: str) -> NewWebhook:
    """Give a webhook another secret; raises ``NotFound``."""
    secret_id = secrets.token_hex(ID_BYTES)

    def make() -> Change:
        documents = whole_project(store, project)
        now_ms = store.now_ms()
        return webhook_edits.rotate_secret(documents, key, secret_id, actor=actor, now_ms=now_ms)

    stored = commit_with_retry(store, make).stored(webhook_address(key))
    return NewWebhook(stored, signing_secret(secret_key, secret_id))


def try_out(store: Store, project: str, key: str, actor: str, reason: str) -> None:
    """Queue a message that tries a webhook out; raises ``NotFound``."""

    def make() -> Change:
        documents = whole_project(store, project)
        now_ms = store.now_ms()
        return webhook_edits.queue_test_message(
            documents, key, actor=actor, now_ms=now_ms, reason=reason
        )

    commit_with_retry(store, make)


def delete(store: Store, project: str, key: str, actor: str) -> None:
    """Delete a webhook; raises ``NotFound``, and ``NotPossible`` while something names it."""

    def make() -> Change:
        documents = whole_project(store, project)
        require_if_match(documents.webhook(key).revision, f"webhook {key}")
        return webhook_edits.delete_webhook(documents, key, actor=actor)

    commit_with_retry(store, make)


def for_readers(stored: Stored) -> Stored:
    """A webhook whose address is its host alone: the rest may be a credential."""
    webhook: Webhook = stored.document
    return replace(stored, document=replace(webhook, url=f"{webhook.origin}/…"))


def _webhook(asked: WebhookRequest, secret_id: str) -> Webhook:
    return Webhook(
        key=asked.key,
        url=asked.url,
        secret_id=secret_id,
        format=asked.format,
        enabled=asked.enabled,
        timeout_ms=asked.timeout_ms,
        name=asked.name,
        description=asked.description,
    )
