"""Requests to other servers that releases wait for without blocking the policy job.

An evaluation that needs answers calls ``collect``. While some are missing, the release stays
due; ``completed`` says when to evaluate it again.

Threads: the policy job's loop calls the methods, and threads from ``BoundedThreads`` send the
requests of one queue each. The lock guards the batches and the queues; no request is sent
while it is held.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeAlias, TypeVar

from tidegate_server.outbound.bounded_threads import BoundedThreads

ReleaseKey: TypeAlias = tuple[str, str, str]
"""Project, environment and release id."""

A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class Request(Generic[A]):
    """A request of a batch.

    Attributes:
        queue: the requests of one queue share a few threads.
        timeout_s: how long after the start of its batch an answer still counts.
        default: the answer that counts if none arrives in time.
        send: sends the request and returns its answer; its argument is the time left, in
            seconds. It returns None if there is no answer. Without it ``default`` counts.
    """

    queue: Hashable
    timeout_s: float
    default: A
    send: Callable[[float], A | None] | None = None


@dataclass(slots=True)
class _Batch(Generic[A]):
    """The requests of one evaluation and their answers so far. Times are monotonic."""

    release: ReleaseKey
    question: Hashable
    requests: Sequence[Request[A]]
    started: float
    answers: dict[int, A] = field(default_factory=dict)
    ended: float | None = None
    reported: bool = False

    def left_s(self, index: int) -> float:
        return self.started + self.requests[index].timeout_s - time.monotonic()

    @property
    def complete(self) -> bool:
        """Whether every answer has arrived or its time is over. It never changes back."""
        if self.ended is None and not any(map(self._is_open, range(len(self.requests)))):
            self.ended = time.monotonic()
        return self.ended is not None

    def _is_open(self, index: int) -> bool:
        awaited = self.requests[index].send is not None and index not in self.answers
        return awaited and self.left_s(index) > 0


class PendingRequests(Generic[A]):
    """The requests of one kind that a policy job waits for: one batch for each release.

    Args:
        threads: send the requests.
        fresh_s: how long a complete batch of answers may be used.
    """

    def __init__(self, threads: BoundedThreads, fresh_s: float) -> None:
        self._threads = threads
        self._fresh_s = fresh_s
        self._lock = threading.Lock()
        self._batches: dict[ReleaseKey, _Batch[A]] = {}
        self._queues: dict[Hashable, deque[tuple[_Batch[A], int]]] = {}

    @property
    def waiting(self) -> bool:
        """Whether an answer is missing."""
        with self._lock:
            return any(not batch.complete for batch in self._batches.values())

    def completed(self) -> list[ReleaseKey]:
        """Return the releases whose answers have become complete since the last call."""
        with self._lock:
            for batch in [each for each in self._batches.values() if self._is_stale(each)]:
                del self._batches[batch.release]
            new = [each for each in self._batches.values() if each.complete and not each.reported]
            for batch in new:
                batch.reported = True
            return [batch.release for batch in new]

    def forget(self, release: ReleaseKey) -> None:
        """Drop the answers of a release; its next evaluation sends its requests again."""
        with self._lock:
            self._batches.pop(release, None)

    def forget_project(self, project: str) -> None:
        """Drop the answers of a project that another process leads now."""
        with self._lock:
            for release in [release for release in self._batches if release[0] == project]:
                del self._batches[release]

    def collect(
        self,
        release: ReleaseKey,
        question: Hashable,
        make_requests: Callable[[], Sequence[Request[A]]],
    ) -> tuple[A, ...] | None:
        """Return the answers for a release in the order of the requests; None: not yet complete.

        Args:
            release: the release to evaluate.
            question: what the requests ask. Answers to another question do not count.
            make_requests: makes the requests; called only if they have to be sent.
        """
        with self._lock:
            batch = self._batches.get(release)
        if batch is None or batch.question != question or self._is_stale(batch):
            batch = _Batch(release, question, make_requests(), time.monotonic())
            self._add(batch)
        for queue in {request.queue for request in batch.requests}:
            self._start_threads(queue)
        with self._lock:
            if not batch.complete:
                return None
            return tuple(
                batch.answers.get(index, request.default)
                for index, request in enumerate(batch.requests)
            )

    def _is_stale(self, batch: _Batch[A]) -> bool:
        return batch.ended is not None and time.monotonic() - batch.ended > self._fresh_s

    def _add(self, batch: _Batch[A]) -> None:
        with self._lock:
            self._batches[batch.release] = batch
            for index, request in enumerate(batch.requests):
                if request.send is not None:
                    self._queues.setdefault(request.queue, deque()).append((batch, index))

    def _start_threads(self, queue: Hashable) -> None:
        with self._lock:
            queued = len(self._queues.get(queue, ()))
        for _ in range(queued):
            if not self._threads.start(queue, partial(self._send_all, queue)):
                return

    def _send_all(self, queue: Hashable) -> None:
        """Send the requests of a queue until none is left."""
        while (request := self._next(queue)) is not None:
            batch, index = request
            send = batch.requests[index].send
            answer = send(batch.left_s(index)) if send is not None else None
            if answer is not None:
                with self._lock:
                    if not batch.complete:
                        batch.answers[index] = answer

    def _next(self, queue: Hashable) -> tuple[_Batch[A], int] | None:
        """Return the next request whose batch is current and whose time is not over."""
        with self._lock:
            waiting = self._queues.get(queue, deque())
            while waiting:
                batch, index = waiting.popleft()
                if self._batches.get(batch.release) is batch and batch.left_s(index) > 0:
                    return batch, index
            self._queues.pop(queue, None)
            return None
