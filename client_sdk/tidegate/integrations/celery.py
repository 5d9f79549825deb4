"""One operation for each Celery task.

Call ``install(client)`` where the Celery application is made, before the workers fork.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery import signals, states

from tidegate.client import Client
from tidegate.context import Context
from tidegate.integrations.request_operations import RequestOperations
from tidegate.operation import Operation


def install(client: Client, context: Callable[[Any], Context] | None = None) -> None:
    """Open an operation for every task that this process and its children run.

    You can install several clients. A second call for the same client replaces the first.

    A task that succeeds is ok, and one that fails for good is an error. One that is retried,
    ignored, rejected or revoked has no outcome: the last attempt has it.

    Args:
        client: the client whose flags the tasks evaluate.
        context: returns the context of a task, given the task (``task.request`` has its
            arguments and headers); called at the first evaluation.
    """
    receivers = _Receivers(client, context)
    for signal, receiver in (
        (signals.task_prerun, receivers.begin),
        (signals.task_postrun, receivers.end),
        (signals.worker_process_shutdown, receivers.flush),
    ):
        # By default Celery keeps only weak references to receivers.
        signal.disconnect(dispatch_uid=receivers.name)
        signal.connect(receiver, weak=False, dispatch_uid=receivers.name)


class _Receivers:
    """The signal receivers of one client."""

    def __init__(self, client: Client, context: Callable[[Any], Context] | None) -> None:
        self._client = client
        self._tasks = RequestOperations(client, context)
        self.name = f"tidegate-{id(client)}"

    def begin(self, task: Any = None, **_: Any) -> None:
        setattr(task.request, self.name, self._tasks.operation(task).begin())

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
