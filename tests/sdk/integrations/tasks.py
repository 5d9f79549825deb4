"""A Celery application whose tasks evaluate a flag, run by a real worker."""

from __future__ import annotations

import os
import time
from typing import Any

import tidegate
from celery import Celery, Task
from tidegate.integrations.celery import install

app = Celery("tasks", broker=os.environ.get("TASKS_BROKER", "memory://"))
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
)
client = tidegate.Client()


def context_of(task: Any) -> tidegate.Context:
    return tidegate.Context(task.request.args[0])


install(client, context_of)


@app.task(bind=True, max_retries=1)  # type: ignore[untyped-decorator]
def work(task: Task, name: str, how: str) -> None:
    client.wait_until_ready(60)
    client.boolean("checkout", False)
    if how == "fail":
        raise RuntimeError("a bug")
    if how == "hang":
        time.sleep(60)
    if how == "exit":
        raise SystemExit(3)
    if how == "retry" and task.request.retries == 0:
        raise task.retry(countdown=0)
