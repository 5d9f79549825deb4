"""Children of multiprocessing report at their end, although they run no exit handlers.

Each of them also gets a kill, and reports as its own instance.
"""

from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING

import pytest
from tidegate import Client, Context

from tests.waiting import until

if TYPE_CHECKING:  # children import this module, too, and need no server
    from tests.sdk.conftest import Connect
    from tests.sdk.server import Environment

WORK = 20


def work(client: Client, name: str) -> None:
    for number in range(WORK):
        with client.operation(Context(f"{name}-{number}")):
            client.boolean("checkout", False)


def killed(client: Client) -> bool:
    return bool(client.boolean_details("banner", False).metadata.get("killed"))


def forked(client: Client, name: str) -> None:
    work(client, name)
    until(lambda: killed(client), "the kill arrives")


def spawned(url: str, token: str, name: str) -> None:
    client = Client(url, token)
    assert client.wait_until_ready(60)
    forked(client, name)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_report_when_they_end(
    environment: Environment, connect: Connect, method: str
) -> None:
    environment.flag("checkout")
    environment.flag("banner")
    release = environment.release("checkout")
    client = connect()
    work(client, "parent")
    context = multiprocessing.get_context(method)
    children = [
        context.Process(target=forked, args=(client, f"child-{number}"))  # type: ignore[attr-defined]
        if method == "fork"
        else context.Process(  # type: ignore[attr-defined]
            target=spawned, args=(environment.url, environment.token, f"child-{number}")
        )
        for number in range(3)
    ]
    for child in children:
        child.start()
    environment.kill("banner")
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    until(lambda: environment.outcomes(release) >= 4 * WORK, "all operations are counted")
    assert environment.outcomes(release) == 4 * WORK
    assert len({each["id"] for each in environment.instances()}) == 4
