"""One operation per Celery task.

Call ``install(client)`` where the Celery application is made: before the workers fork.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery import signals, states

from tidegate.client import Client
from tidegate.context import NOBODY, Context
from tidegate.operation import Operation


def install(client: Client, context: Callable[[Any], Context] | None = None) -> None:
    """Open an operation for every task that this process and its children run.

    Clients may be several; of several calls for one client the last one counts.

    A task that fails for good is an error, one that succeeds is ok. One that is retried,
    ignored, rejected or revoked is neither: its last attempt says how it ended.

    Args:
        client: whose flags the tasks ask for.
        context: returns whom a task is for; called with the task (``task.request`` has its
            arguments and headers) when the first flag is asked for.
    """
    connections = _Receivers(client, context)
    for signal, receiver in (
        (signals.task_prerun, connections.begin),
        (signals.task_postrun, connections.end),
        (signals.worker_process_shutdown, connections.flush),
    ):
        # Celery keeps weak references to receivers unless it is told otherwise.
        signal.disconnect(dispatch_uid=connections.name)
        signal.connect(receiver, weak=False, dispatch_uid=connections.name)


class _Receivers:
    """What is called when tasks begin and end, and when a worker process does."""

    def __init__(self, client: Client, context: Callable[[Any], Context] | None) -> None:
        self._client = client
        self._context = context
        self.name = f"tidegate-{id(client)}"

    def begin(self, task: Any = None, **_: Any) -> None:
        context = self._context
        operation = self._client.operation_of(lambda: context(task) if context else NOBODY)
        setattr(task.request, self.name, operation.begin())

    def end(self, task: Any = None, state: str | None = None, **_: Any) -> None:
        operation: Operation | None = getattr(task.request, self.name, None)
        if operation is None:
            return
        if state == states.SUCCESS:
            operation.end()
        elif state == states.FAILURE:
            operation.fail()
            operation.end()
        else:
            operation.cancel()

    def flush(self, **_: Any) -> None:
        # A prefork child ends without the interpreter's exit handlers.
        self._client.close()
