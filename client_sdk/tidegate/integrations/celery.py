"""One operation for each Celery task.

Call ``install(client)`` where the Celery application is made, before the workers fork.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from celery import signals, states
from celery.exceptions import TaskPredicate

from tidegate.client import Client
from tidegate.context import Context
from tidegate.integrations.request_operations import RequestOperations

LIMIT_TOLERANCE = 1.0
"""How many seconds before its hard time limit a task that is stopped counts as stopped by it."""


def install(client: Client, context: Callable[[Any], Context | str | None] | None = None) -> None:
    """Open an operation for every task that this process and its children run.

    You can install several clients. A second call for the same client replaces the first.

    A task that succeeds is ok, and one that fails for good is an error, also by a time limit.
    One that is retried, ignored, rejected or revoked has no outcome: the last attempt has it.

    Args:
        client: the client whose flags the tasks evaluate.
        context: returns the context of a task, given the task (``task.request`` has its
            arguments and headers); called at the first evaluation.
    """
    receivers = _Receivers(client, context)
    for sent, receiver in (
        (signals.celeryd_init, receivers.read_options),
        (signals.task_prerun, receivers.begin),
        (signals.task_postrun, receivers.end),
        (signals.worker_process_shutdown, receivers.flush),
    ):
        # By default Celery keeps only weak references to receivers.
        sent.disconnect(dispatch_uid=receivers.name)
        sent.connect(receiver, weak=False, dispatch_uid=receivers.name)


class _Receivers:
    """The signal receivers of one client."""

    def __init__(
        self, client: Client, context: Callable[[Any], Context | str | None] | None
    ) -> None:
        self._client = client
        self._tasks = RequestOperations(client, context)
        self._time_limit: float | None = None  # the worker's own option
        self.name = f"tidegate-{id(client)}"

    def read_options(self, options: dict[str, Any] | None = None, **_: Any) -> None:
        self._time_limit = (options or {}).get("time_limit")

    def begin(self, task: Any = None, **_: Any) -> None:
        operation = self._tasks.operation(task).begin()
        setattr(task.request, self.name, (operation, time.monotonic()))

    def end(self, task: Any = None, state: str | None = None, **_: Any) -> None:
        if not hasattr(task.request, self.name):
            return
        operation, began = getattr(task.request, self.name)
        left = sys.exc_info()[1]
        if state == states.SUCCESS:
            operation.end()
        elif state == states.FAILURE:
            operation.fail()
            operation.end()
        elif state is not None or left is None or isinstance(left, TaskPredicate):
            operation.cancel()
        elif not _is_stopped(left):
            operation.end_with(left)
        elif self._is_over_limit(task, time.monotonic() - began):
            operation.fail()
            operation.end()
            self._client.flush()  # at once: Celery kills the process a tenth of a second later
        else:
            operation.interrupt()

    def _is_over_limit(self, task: Any, seconds: float) -> bool:
        limit = (task.request.timelimit or (None,))[0] or task.time_limit or self._time_limit
        return limit is not None and seconds > limit - LIMIT_TOLERANCE

    def flush(self, **_: Any) -> None:
        # A prefork child ends without the interpreter's exit handlers.
        self._client.close()


def _is_stopped(left: BaseException) -> bool:
    """Return whether Celery stops this process with a signal, which raises its own exit code."""
    code = left.code if isinstance(left, SystemExit) else None
    return isinstance(code, int) and code + 256 in set(signal.Signals)
