"""An operation whose block is in a generator is the current one only while the generator runs."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from collections.abc import AsyncIterator, Iterator

import pytest
from tidegate import Client, Context, Operation
from tidegate.current_operation import current_operation

from tests.sdk.integrations.treatment_counts import SNAPSHOT, counted, counts

ANN, BOB = Context("ann"), Context("bob")


@pytest.fixture
def client() -> Client:
    return Client.offline(SNAPSHOT)


def pieces(client: Client, context: Context, times: int = 2) -> Iterator[Operation]:
    with client.operation(context) as operation:
        for _ in range(times):
            assert current_operation() is operation
            client.boolean("checkout", False)
            yield operation
            assert current_operation() is operation


async def async_pieces(client: Client, context: Context) -> AsyncIterator[Operation]:
    with client.operation(context) as operation:
        await asyncio.sleep(0)
        assert await asyncio.to_thread(current_operation) is operation
        assert await asyncio.create_task(in_a_task()) is operation
        client.boolean("checkout", False)
        yield operation
        await asyncio.sleep(0)
        assert current_operation() is operation


async def in_a_task() -> Operation | None:
    await asyncio.sleep(0)
    return current_operation()


def test_it_does_not_leak_to_the_caller(client: Client) -> None:
    for _ in pieces(client, ANN):
        assert current_operation() is None
        client.boolean("checkout", False)
        client.fail()
        client.measure("basket_value", 1.0)
    assert counted(client) == counts(3, 1, 0)


def test_it_does_not_leak_to_threads_of_the_caller(client: Client) -> None:
    async def main() -> None:
        for _ in pieces(client, ANN):
            assert await asyncio.to_thread(current_operation) is None

    asyncio.run(main())


def test_an_asynchronous_one_does_not_leak_to_its_caller(client: Client) -> None:
    async def main() -> None:
        async for _ in async_pieces(client, ANN):
            assert current_operation() is None
            assert await in_a_task() is None
            assert await asyncio.create_task(in_a_task()) is None
            assert await asyncio.to_thread(current_operation) is None
            client.boolean("checkout", False)

    asyncio.run(main())
    assert counted(client) == counts(2, 1, 0)


def test_the_caller_keeps_its_own_operation(client: Client) -> None:
    with client.operation(BOB) as outer:
        for _ in pieces(client, ANN):
            assert current_operation() is outer
            client.boolean("checkout", False)
        assert current_operation() is outer
    assert current_operation() is None
    assert counted(client) == counts(2, 2, 0)


def test_a_generator_keeps_its_operation_in_a_block_of_the_caller(client: Client) -> None:
    reading = pieces(client, ANN, 3)
    next(reading)
    with client.operation(BOB) as operation:
        next(reading)
        assert current_operation() is operation
        with client.operation(BOB) as inner:
            next(reading)
            assert current_operation() is inner
        assert list(reading) == []
        assert current_operation() is operation
    assert current_operation() is None


def test_generators_can_be_read_in_turn(client: Client) -> None:
    for _ in zip(pieces(client, ANN), pieces(client, BOB), strict=True):
        assert current_operation() is None
    assert current_operation() is None
    assert counted(client) == counts(2, 2, 0)


def test_a_generator_in_a_generator_has_its_own_operation(client: Client) -> None:
    def outer() -> Iterator[None]:
        with client.operation(BOB) as operation:
            for _ in pieces(client, ANN):
                assert current_operation() is operation
                yield
                assert current_operation() is operation

    for _ in outer():
        assert current_operation() is None


def test_a_dropped_generator_ends_its_operation_without_the_collector(client: Client) -> None:
    gc.disable()
    try:
        reading = pieces(client, ANN)
        operation = next(reading)
        del reading
        assert operation.ended
    finally:
        gc.enable()
    assert counted(client) == counts(1, 0, 0)


def test_one_closed_in_another_task_or_thread_leaves_nothing_behind(client: Client) -> None:
    async def main() -> None:
        reading = async_pieces(client, ANN)
        await anext(reading)
        await asyncio.create_task(reading.aclose())  # type: ignore[attr-defined]
        assert current_operation() is None
        with client.operation(BOB) as operation:
            assert current_operation() is operation
        assert current_operation() is None

    asyncio.run(main())
    reading = pieces(client, ANN)
    next(reading)
    closing = threading.Thread(target=reading.close)  # type: ignore[attr-defined]
    closing.start()
    closing.join()
    assert current_operation() is None


@contextlib.contextmanager
def unit(client: Client) -> Iterator[Operation]:
    with client.operation(ANN) as operation:
        yield operation


@contextlib.asynccontextmanager
async def async_unit(client: Client) -> AsyncIterator[Operation]:
    with client.operation(ANN) as operation:
        await asyncio.sleep(0)
        yield operation


def test_a_context_manager_made_of_a_generator_holds_its_block(client: Client) -> None:
    with unit(client) as operation:
        assert current_operation() is operation
        client.boolean("checkout", False)
    assert counted(client) == counts(1, 1, 0)

    async def main() -> None:
        async with async_unit(client) as operation:
            await asyncio.sleep(0)
            assert current_operation() is operation

    asyncio.run(main())
    assert current_operation() is None


@pytest.fixture
def in_an_operation(client: Client) -> Iterator[Operation]:
    with client.operation(ANN) as operation:
        yield operation


def test_a_fixture_holds_its_test(in_an_operation: Operation) -> None:
    assert current_operation() is in_an_operation


@pytest.mark.parametrize("with_stack", [False, True])
def test_a_context_manager_in_a_generator_does_not_leak(client: Client, with_stack: bool) -> None:
    def read() -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            block = client.operation(ANN) if with_stack else unit(client)
            operation = stack.enter_context(block)
            assert current_operation() is operation
            yield
            assert current_operation() is operation

    for _ in read():
        assert current_operation() is None
