"""Asks webhooks to confirm that a release may advance.

While the answers are awaited the release stays due, so a check that fails still acts.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from tidegate_server.decisions.observations import Answer
from tidegate_server.domain.network_addresses import PUBLIC_ONLY, AllowedNetworks
from tidegate_server.domain.project_documents import webhook_address
from tidegate_server.domain.release import Release
from tidegate_server.domain.release_events import summarize_release
from tidegate_server.domain.webhooks import Webhook
from tidegate_server.errors import StoreUnavailable
from tidegate_server.outbound.bounded_threads import BoundedThreads
from tidegate_server.outbound.http_client import HttpClient, HttpResult
from tidegate_server.outbound.pending_requests import PendingRequests, ReleaseKey, Request
from tidegate_server.store import Store
from tidegate_server.webhooks.messages import CONFIRM, confirmation_body, request_headers

log = structlog.get_logger("tidegate.policy_job")

MAX_THREADS_PER_WEBHOOK = 4
MAX_THREADS = 64
FRESH_S = 30.0
"""How long answers may be used."""

MAX_REASON_LENGTH = 300
MAX_BYTES = 64 * 1024
"""How much of an answer is read."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A decision that webhooks have to confirm.

    Attributes:
        project, environment: where the release is.
        release: the release as it is.
        revision: its revision. Answers count only as long as it is unchanged.
        webhooks: the keys of the webhooks to ask.
        action: what the policy job would do.
        then: the release as it would be.
        reason: why.
    """

    project: str
    environment: str
    release: Release
    revision: int
    webhooks: tuple[str, ...]
    action: str
    then: Release
    reason: str

    @property
    def key(self) -> ReleaseKey:
        """Identifies the release."""
        return (self.project, self.environment, self.release.id)


class ConfirmationRequests(PendingRequests[Answer]):
    """Asks webhooks to confirm proposals. Each answer is used once.

    Args:
        store: holds the webhooks.
        secret_key: the server's secret key; signing secrets are derived from it.
        networks: where requests may go.
    """

    def __init__(
        self, store: Store, secret_key: bytes, networks: AllowedNetworks = PUBLIC_ONLY
    ) -> None:
        threads = BoundedThreads("tidegate-confirm", MAX_THREADS_PER_WEBHOOK, MAX_THREADS)
        super().__init__(threads, FRESH_S)
        self._store = store
        self._secret_key = secret_key
        self._http = HttpClient(networks)

    def confirm(self, proposal: Proposal) -> tuple[Answer, ...] | None:
        """Return the webhooks' answers in their order; None while some are still awaited.

        Raises:
            StoreUnavailable: the webhooks cannot be read.
        """
        question = (proposal.revision, proposal.webhooks)
        answers = self.collect(proposal.key, question, partial(self._requests, proposal))
        if answers is not None:
            self.forget(proposal.key)
        return answers

    def _requests(self, proposal: Proposal) -> list[Request[Answer]]:
        addresses = [webhook_address(key) for key in proposal.webhooks]
        found = self._store.get_many(proposal.project, addresses)
        return [
            self._request(proposal, key, stored.document if stored is not None else None)
            for key, stored in zip(proposal.webhooks, found, strict=True)
        ]

    def _request(self, proposal: Proposal, key: str, webhook: Webhook | None) -> Request[Answer]:
        queue = (proposal.project, key)
        if webhook is None:
            return Request(queue, 0.0, Answer(key, False, "the webhook no longer exists"))
        if not webhook.enabled:
            return Request(queue, 0.0, Answer(key, False, "the webhook is disabled"))
        if not webhook.format.can_confirm:
            why = f"a webhook in the format {webhook.format} cannot confirm"
            return Request(queue, 0.0, Answer(key, False, why))
        timeout_s = webhook.timeout_ms / 1_000
        late = Answer(key, False, f"no answer in {timeout_s:g} s")
        return Request(queue, timeout_s, late, lambda _: self._send(proposal, webhook))

    def _send(self, proposal: Proposal, webhook: Webhook) -> Answer | None:
        try:
            now_ms = self._store.now_ms()
        except StoreUnavailable:
            return None  # the policy job's loop logs it
        id = f"ask-{secrets.token_hex(8)}"
        body = confirmation_body(
            id,
            now_ms,
            proposal.project,
            proposal.environment,
            summarize_release(proposal.release, proposal.release),
            _next_state(proposal),
            proposal.reason,
        )
        result = self._http.request(
            "POST",
            webhook.url,
            timeout_s=webhook.timeout_ms / 1_000,
            body=body,
            headers=request_headers(self._secret_key, webhook, CONFIRM, id, body, now_ms),
            max_bytes=MAX_BYTES,
        )
        if result.status is None:
            log.warning(
                "webhook_not_confirmed",
                scope=proposal.project,
                webhook=webhook.key,
                origin=webhook.origin,
                release=proposal.release.id,
                problem=result.detail,
            )
            if not result.refused:
                # The answer counts as missing at the end of its time and no earlier: an earlier
                # decision would tell a closed port from a silent one.
                return None
        return parse_confirmation(webhook.key, result)


def _next_state(proposal: Proposal) -> Mapping[str, Any]:
    then = proposal.then
    return {
        "action": proposal.action,
        "state": str(then.state),
        "stage": then.stage,
        "stage_name": then.current_stage.name,
        "percentage": then.open_percentage,
        "stage_basis": None if then.stage_basis is None else str(then.stage_basis),
    }


def parse_confirmation(webhook: str, result: HttpResult) -> Answer:
    """Return what a webhook's response means. Only ``{"confirmed": true}`` confirms."""
    if result.status is None:
        return Answer(webhook, False, result.problem)
    body = _json_object(result.body)
    text = body.get("reason")
    reason = " ".join(text.split())[:MAX_REASON_LENGTH] if isinstance(text, str) else ""
    if result.status != 200:
        return Answer(webhook, False, reason or f"answered {result.status}")
    confirmed = body.get("confirmed")
    if not isinstance(confirmed, bool):
        return Answer(webhook, False, 'the answer has no "confirmed": true or false')
    return Answer(webhook, confirmed, reason)


def _json_object(body: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
