"""Changes to webhooks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tidegate_server.domain.change import Audit, Change, KindGuard, WebhookMessage
from tidegate_server.domain.document_changes import delete_document_change, put_document_change
from tidegate_server.domain.field_problems import key_problems, raise_problems
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.network_addresses import PUBLIC_ONLY, AllowedNetworks
from tidegate_server.domain.people_edits import is_email
from tidegate_server.domain.project_documents import (
    ProjectDocuments,
    guard,
    kind_guards,
    put,
    webhook_address,
)
from tidegate_server.domain.references import users_of_webhook
from tidegate_server.domain.release_events import TEST, ReleaseEvent
from tidegate_server.domain.webhooks import (
    MAILTO,
    MAX_RECIPIENTS,
    MAX_TIMEOUT_MS,
    MIN_TIMEOUT_MS,
    RETIRING_MS,
    Format,
    Webhook,
)
from tidegate_server.errors import FieldProblem, NotPossible
from tidegate_server.urls import MAX_URL_LENGTH, split_url

MAX_WEBHOOKS = 100


def put_webhook(
    documents: ProjectDocuments,
    webhook: Webhook,
    *,
    actor: str,
    reason: str = "",
    networks: AllowedNetworks = PUBLIC_ONLY,
) -> Change:
    """Create a webhook, or replace the one with its key, which keeps its secrets.

    Args:
        documents: the project.
        webhook: the webhook.
        actor: who does it.
        reason: why.
        networks: where webhooks may be. This refuses a URL early whose host is an address; each
            request checks the addresses of every host again.

    Raises:
        Invalid: the URL or the timeout is not valid.
        NotPossible: the project has too many webhooks, or a policy asks this one for
            confirmations and its format has no answers.
    """
    before = documents.webhooks.get(webhook.key)
    if before is not None:
        present: Webhook = before.document
        webhook = replace(
            webhook,
            secret_id=present.secret_id,
            retiring_id=present.retiring_id,
            retires_ms=present.retires_ms,
        )
    elif len(documents.webhooks) >= MAX_WEBHOOKS:
        raise NotPossible(f"A project has at most {MAX_WEBHOOKS} webhooks; delete one first.")
    problems = list(_webhook_problems(webhook))
    # An unchanged URL may stay, so that its webhook can still be disabled.
    if not problems and (before is None or webhook.url != before.document.url):
        problems += _host_problems(webhook, networks)
    raise_problems(f"webhook {webhook.key}", problems)
    cannot_answer = before is not None and not webhook.format.can_confirm
    if cannot_answer:
        _check_not_confirming(documents, webhook.key)
    return put_document_change(
        documents.project,
        webhook_address(webhook.key),
        before,
        webhook,
        actor=actor,
        reason=reason,
        details={"origin": webhook.origin, "format": str(webhook.format)},
        kind_guards=_guard_users(documents) if cannot_answer else (),
    )


def rotate_secret(
    documents: ProjectDocuments,
    key: str,
    secret_id: str,
    *,
    actor: str,
    now_ms: int,
    reason: str = "",
) -> Change:
    """Sign with a new secret. The present one signs too for another day."""
    before = documents.webhook(key)
    webhook: Webhook = before.document
    after = replace(
        webhook,
        secret_id=secret_id,
        retiring_id=webhook.secret_id,
        retires_ms=now_ms + RETIRING_MS,
    )
    return Change(
        scope=documents.project,
        writes=(put(webhook_address(key), before, after),),
        audit=Audit(actor, "webhook.rotate", key, "", reason, {"old_until_ms": after.retires_ms}),
    )


def queue_test_message(
    documents: ProjectDocuments, key: str, *, actor: str, now_ms: int, reason: str = ""
) -> Change:
    """Queue a message that only shows that the webhook receives messages."""
    before = documents.webhook(key)
    return Change(
        scope=documents.project,
        writes=(guard(webhook_address(key), before),),
        audit=Audit(actor, "webhook.test", key, "", reason),
        outgoing=(WebhookMessage(key, ReleaseEvent(TEST, now_ms, actor, reason)),),
    )


def delete_webhook(
    documents: ProjectDocuments, key: str, *, actor: str, reason: str = ""
) -> Change:
    """Delete a webhook and the messages that wait for it.

    Raises:
        NotPossible: a policy or an active release uses it.
    """
    return delete_document_change(
        documents.project,
        webhook_address(key),
        documents.webhook(key),
        actor=actor,
        reason=reason,
        used_by=users_of_webhook(documents, key),
        kind_guards=_guard_users(documents),
        forgotten=(key,),
    )


def _guard_users(documents: ProjectDocuments) -> list[KindGuard]:
    """Guard everything that could start to use the webhook at this moment."""
    return kind_guards(documents, Kind.POLICY, Kind.TARGETING)


def _check_not_confirming(documents: ProjectDocuments, key: str) -> None:
    users = users_of_webhook(documents, key, confirming=True)
    if users:
        raise NotPossible(
            f"Webhook {key!r} is asked to confirm by {', '.join(users)}, and only a webhook in "
            "the format json can answer."
        )


def _webhook_problems(webhook: Webhook) -> Iterator[FieldProblem]:
    yield from key_problems(webhook.key)
    is_mail = webhook.format is Format.EMAIL or webhook.url.startswith(MAILTO)
    yield from _mail_problems(webhook) if is_mail else _url_problems(webhook)
    if not MIN_TIMEOUT_MS <= webhook.timeout_ms <= MAX_TIMEOUT_MS:
        yield FieldProblem("/timeout", "A timeout is between 500ms and 30s.")


def _url_problems(webhook: Webhook) -> Iterator[FieldProblem]:
    parts = split_url(webhook.url)
    if parts is None:
        yield FieldProblem(
            "/url",
            "This URL cannot be requested: write http:// or https:// and a host, without "
            f"spaces, in at most {MAX_URL_LENGTH} characters.",
        )
    elif parts.username is not None or parts.password is not None:
        yield FieldProblem(
            "/url",
            "Leave the user name and password out of the URL; receivers verify the signature "
            "instead.",
        )
    elif parts.fragment:
        yield FieldProblem("/url", "A server never receives the part after #; leave it out.")


def _mail_problems(webhook: Webhook) -> Iterator[FieldProblem]:
    if webhook.format is not Format.EMAIL:
        yield FieldProblem("/format", "An address of mail needs the format email.")
    elif not webhook.url.startswith(MAILTO):
        yield FieldProblem("/url", "Write the addresses as mailto:oncall@example.com.")
    elif not all(map(is_email, webhook.recipients)):
        yield FieldProblem(
            "/url", "Write addresses after mailto:, separated by commas, and nothing else."
        )
    elif len(webhook.recipients) > MAX_RECIPIENTS:
        yield FieldProblem(
            "/url", f"There are at most {MAX_RECIPIENTS} addresses; use a mailing list."
        )


def _host_problems(webhook: Webhook, networks: AllowedNetworks) -> Iterator[FieldProblem]:
    parts = None if webhook.recipients else split_url(webhook.url)
    if parts is not None and not networks.permits_host(parts.hostname or ""):
        yield FieldProblem(
            "/url",
            f"{parts.hostname} is not a public address, so the server sends nothing there. Use a "
            "host with a public address, or ask the server's operator to add the network to "
            "TIDEGATE_WEBHOOK_NETWORKS.",
        )
