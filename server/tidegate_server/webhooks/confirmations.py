"""Asking webhooks to confirm, without anybody waiting for them.

A question goes out in threads, the loop goes on with other releases, and the release is
evaluated again once all have answered, or their time is over. Meanwhile it stays due: what
makes it fail is seen and acted on as ever.

Threads: one for each request, from ``BoundedThreads``. The lock guards the rounds.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tidegate_server.decisions.observations import Answer
from tidegate_server.domain.project_documents import webhook_address
from tidegate_server.domain.release import Release
from tidegate_server.domain.release_events import summarize_release
from tidegate_server.domain.webhooks import Format, Webhook
from tidegate_server.errors import StoreUnavailable
from tidegate_server.outbound.bounded_threads import BoundedThreads
from tidegate_server.outbound.http_client import HttpResult, request
from tidegate_server.outbound.pending_requests import KEPT_S, Place, Rounds
from tidegate_server.store import Store
from tidegate_server.webhooks.messages import CONFIRM, confirmation_body, request_headers

EACH_AT_A_TIME = 4
MOST_AT_A_TIME = 64
LONGEST_REASON = 300
MOST_BYTES = 64 * 1024
"""How much of an answer is read."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be confirmed.

    ``then`` is the release as it will be; ``revision`` is the one that the release was read
    at, so that answers never count for what someone has changed meanwhile.
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
    def place(self) -> Place:
        """Which release it is about."""
        return (self.project, self.environment, self.release.id)


@dataclass(slots=True)
class _Round:
    """One question on its way. ``open`` are the webhooks that were not asked yet."""

    question: Question
    began: float
    open: dict[str, Webhook]
    asked: dict[str, Webhook] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    told: bool = False

    @property
    def over(self) -> bool:
        """Whether every webhook has answered, or has been taken to refuse."""
        return all(webhook in self.answers for webhook in self.question.webhooks)


class Asker(Rounds[_Round]):
    """Puts questions to webhooks and keeps their answers until they are used.

    Args:
        store: where the webhooks are.
        secret_key: the server's, which signatures are derived from.
    """

    def __init__(self, store: Store, secret_key: bytes) -> None:
        super().__init__()
        self._store = store
        self._secret_key = secret_key
        self._lanes = BoundedThreads("tidegate-asker", EACH_AT_A_TIME, MOST_AT_A_TIME)

    def answers(self, question: Question) -> tuple[Answer, ...] | None:
        """The answers to a question, in its order, once; None while they are not all there.

        Raises:
            StoreUnavailable: the webhooks cannot be read.
        """
        round_ = self._round(question)
        with self._lock:
            for webhook in list(round_.open.values()):
                lane = (question.project, webhook.key)
                if self._lanes.start(lane, partial(self._ask, round_, webhook)):
                    round_.asked[webhook.key] = round_.open.pop(webhook.key)
            self._refuse_late(round_)
            if not round_.over:
                return None
            self._rounds.pop(question.place, None)
            return tuple(round_.answers[webhook] for webhook in question.webhooks)

    def _round(self, question: Question) -> _Round:
        with self._lock:
            present = self._rounds.get(question.place)
            if (
                present is not None
                and present.question.revision == question.revision
                and present.question.webhooks == question.webhooks
                and time.monotonic() - present.began < KEPT_S
            ):
                return present
        named = [webhook_address(key) for key in question.webhooks]
        found = self._store.get_many(question.project, named)
        round_ = _Round(question, time.monotonic(), {})
        for key, stored in zip(question.webhooks, found, strict=True):
            webhook: Webhook | None = stored.document if stored is not None else None
            if webhook is None:
                round_.answers[key] = Answer(key, False, "there is no such webhook any more")
            elif not webhook.enabled:
                round_.answers[key] = Answer(key, False, "it is disabled")
            elif webhook.format is not Format.JSON:
                round_.answers[key] = Answer(key, False, "its format cannot answer")
            else:
                round_.open[key] = webhook
        with self._lock:
            self._rounds[question.place] = round_
        return round_

    @staticmethod
    def _refuse_late(round_: _Round) -> None:
        waited = time.monotonic() - round_.began
        for key, webhook in {**round_.open, **round_.asked}.items():
            timeout_s = webhook.timeout_ms / 1_000
            if key in round_.answers or waited < timeout_s:
                continue
            round_.answers[key] = Answer(key, False, f"no answer in {timeout_s:g} s")
            round_.open.pop(key, None)

    def _ask(self, round_: _Round, webhook: Webhook) -> None:
        question = round_.question
        try:
            id, now_ms = f"ask-{secrets.token_hex(8)}", self._store.now_ms()
        except StoreUnavailable:
            return  # the policy job's loop says so; without an answer in time it is a refusal
        body = confirmation_body(
            id,
            now_ms,
            question.project,
            question.environment,
            summarize_release(question.release, question.release),
            _what_follows(question),
            question.reason,
        )
        headers = request_headers(self._secret_key, webhook, CONFIRM, id, body, now_ms)
        result = request(
            "POST",
            webhook.url,
            timeout_s=webhook.timeout_ms / 1_000,
            body=body,
            headers=headers,
            max_bytes=MOST_BYTES,
        )
        answer = understood(webhook.key, result)
        with self._lock:
            round_.answers.setdefault(webhook.key, answer)


def _what_follows(question: Question) -> Mapping[str, Any]:
    then = question.then
    return {
        "action": question.action,
        "state": str(then.state),
        "stage": then.stage,
        "stage_name": then.policy.stages[then.stage - 1].name,
        "percentage": then.open_percentage,
    }


def understood(webhook: str, answered: HttpResult) -> Answer:
    """What a webhook's answer means: only an explicit yes confirms."""
    if answered.status is None:
        return Answer(webhook, False, answered.problem)
    said = _object(answered.body)
    reason = said.get("reason") if said is not None else None
    words = " ".join(reason.split())[:LONGEST_REASON] if isinstance(reason, str) else ""
    if answered.status != 200:
        return Answer(webhook, False, words or f"answered {answered.status}")
    if said is None or not isinstance(said.get("confirmed"), bool):
        return Answer(webhook, False, 'its answer does not say "confirmed": true or false')
    return Answer(webhook, said["confirmed"], words)


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
