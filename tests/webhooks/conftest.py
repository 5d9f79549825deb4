from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from tidegate_server.store import Store

from tests.policy_job.deployment import Deployment
from tests.receiver import Receiver, receiver
from tests.stores import raw, store, valkey

__all__ = ["raw", "store", "valkey"]

Start = Callable[..., Receiver]


@pytest.fixture
def deployment(store: Store) -> Deployment:
    return Deployment(store)


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts receivers, which end with the test."""
    with ExitStack() as stack:
        yield lambda *behaviours: stack.enter_context(receiver(*behaviours))
