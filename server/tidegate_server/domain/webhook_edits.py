"""Commits of edits to webhooks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tidegate_server.domain import field_problems
from tidegate_server.domain.change import Audit, Change, Delete, Guard, Outgoing, Put
from tidegate_server.domain.field_differences import changed_fields, same
from tidegate_server.domain.project_documents import (
    ProjectDocuments,
    guard,
    policy_address,
    put,
    webhook_address,
)
from tidegate_server.domain.references import guards_of_other_targetings, users_of_webhook
from tidegate_server.domain.release_events import TEST, Notice
from tidegate_server.domain.webhooks import (
    LONGEST_TIMEOUT_MS,
    RETIRING_MS,
    SHORTEST_TIMEOUT_MS,
    Format,
    Webhook,
)
from tidegate_server.errors import FieldProblem, NotPossible
from tidegate_server.urls import LONGEST_URL, split_url

MOST_WEBHOOKS = 100


def put_webhook(
    documents: ProjectDocuments, webhook: Webhook, *, actor: str, reason: str = ""
) -> Change:
    """Create a webhook, or replace the one with its key, whose secrets stay.

    Raises:
        Invalid: the address or the time-out cannot be.
        NotPossible: a policy waits for its answers, and Slack's format has none.
    """
    before = documents.webhooks.get(webhook.key)
    if before is not None:
        held: Webhook = before.document
        webhook = replace(
            webhook,
            secret_id=held.secret_id,
            retiring_id=held.retiring_id,
            retires_ms=held.retires_ms,
        )
    elif len(documents.webhooks) >= MOST_WEBHOOKS:
        raise NotPossible(f"A project has at most {MOST_WEBHOOKS} webhooks; delete one first.")
    field_problems.refuse(f"webhook {webhook.key}", _of_webhook(webhook))
    where = webhook_address(webhook.key)
    if before is not None and same(before.document, webhook):
        return Change(scope=documents.project, writes=(guard(where, before),))
    falls_silent = before is not None and webhook.format is Format.SLACK
    if falls_silent:
        _refuse_while_asked(documents, webhook.key)
    details: dict[str, object] = {"origin": webhook.origin, "format": str(webhook.format)}
    if before is not None:
        details["changed"] = changed_fields(before.document, webhook)
    return Change(
        scope=documents.project,
        writes=(
            Put(where, webhook, before.revision if before is not None else 0),
            *(_guards_of_users(documents) if falls_silent else ()),
        ),
        audit=Audit(
            actor,
            "webhook.create" if before is None else "webhook.edit",
            webhook.key,
            "",
            reason,
            details,
        ),
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
    """Sign with another secret from now on, and with the present one too for a day."""
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


def try_webhook(
    documents: ProjectDocuments, key: str, *, actor: str, now_ms: int, reason: str = ""
) -> Change:
    """Queue a message that says nothing but that it arrives."""
    before = documents.webhook(key)
    return Change(
        scope=documents.project,
        writes=(guard(webhook_address(key), before),),
        audit=Audit(actor, "webhook.test", key, "", reason),
        outgoing=(Outgoing(key, Notice(TEST, now_ms, actor, reason)),),
    )


def delete_webhook(
    documents: ProjectDocuments, key: str, *, actor: str, reason: str = ""
) -> Change:
    """Remove a webhook and what waits for it.

    Raises:
        NotPossible: a policy or an active release names it.
    """
    before = documents.webhook(key)
    users = users_of_webhook(documents, key)
    if users:
        raise NotPossible(f"Webhook {key!r} is named by {', '.join(users)}. End that first.")
    return Change(
        scope=documents.project,
        writes=(Delete(webhook_address(key), before.revision), *_guards_of_users(documents)),
        audit=Audit(actor, "webhook.delete", key, "", reason),
        forgotten=(key,),
    )


def _guards_of_users(documents: ProjectDocuments) -> list[Put | Delete | Guard]:
    """Whatever could begin to name the webhook meanwhile must stop this."""
    return [
        *(guard(policy_address(name), held) for name, held in documents.policies.items()),
        *guards_of_other_targetings(documents),
    ]


def _refuse_while_asked(documents: ProjectDocuments, key: str) -> None:
    users = users_of_webhook(documents, key, asked=True)
    if users:
        raise NotPossible(
            f"Webhook {key!r} is asked to confirm by {', '.join(users)}, and an address that "
            "reads Slack's format cannot answer."
        )


def _of_webhook(webhook: Webhook) -> Iterator[FieldProblem]:
    yield from field_problems.of_key(webhook.key)
    parts = split_url(webhook.url)
    if parts is None:
        yield FieldProblem(
            "/url",
            f"This is no address that requests can go to: write http:// or https://, a host, "
            f"no spaces, at most {LONGEST_URL} characters.",
        )
    elif parts.username is not None or parts.password is not None:
        yield FieldProblem(
            "/url",
            "Leave the name and the password out of the address: receivers verify the "
            "signature instead.",
        )
    elif parts.fragment:
        yield FieldProblem("/url", "What follows # never reaches a server; leave it out.")
    if not SHORTEST_TIMEOUT_MS <= webhook.timeout_ms <= LONGEST_TIMEOUT_MS:
        yield FieldProblem("/timeout", "A time-out is between 500ms and 30s.")
