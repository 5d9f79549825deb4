"""Children of multiprocessing end without exit handlers; what they did is counted all the same."""

from __future__ import annotations

import multiprocessing
import time

import pytest
from tidegate import Client, Context

from tests.sdk.conftest import Connect
from tests.sdk.server import Environment

WORK = 20


def work(client: Client, name: str) -> None:
    for number in range(WORK):
        with client.operation(Context(f"{name}-{number}")):
            client.boolean("checkout", False)


def spawned(url: str, token: str, name: str) -> None:
    client = Client(url, token)
    assert client.wait_until_ready(20)
    work(client, name)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_what_children_did_is_reported_at_their_end(
    environment: Environment, connect: Connect, method: str
) -> None:
    environment.flag("checkout")
    release = environment.release("checkout")
    client = connect()
    work(client, "parent")
    context = multiprocessing.get_context(method)
    children = [
        context.Process(target=work, args=(client, f"child-{number}"))  # type: ignore[attr-defined]
        if method == "fork"
        else context.Process(  # type: ignore[attr-defined]
            target=spawned, args=(environment.url, environment.token, f"child-{number}")
        )
        for number in range(3)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    deadline = time.monotonic() + 20
    while environment.outcomes(release) < 4 * WORK and time.monotonic() < deadline:
        time.sleep(0.05)
    assert environment.outcomes(release) == 4 * WORK
