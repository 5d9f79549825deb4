"""Operations: exposures, outcomes, values, contexts, and which one is current."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any, cast

import pytest
from tidegate import Client, Context, Operation
from tidegate.bucketing import user_hash
from tidegate.current_operation import current
from tidegate.histogram import bucket_of
from tidegate.operation import MAX_LATE, MAX_USERS, MAX_VALUES

from tests.sdk.documents import a_flag, a_release, a_snapshot, prerequisites
from tests.sdk.integrations.treatment_counts import SNAPSHOT, counted, counts
from tests.sdk.reports import report_document
from tests.waiting import soon

ANN, BOB = Context("ann"), Context("bob")


@pytest.fixture
def client() -> Client:
    return Client.offline(SNAPSHOT)


def evaluate(client: Client, context: Context | None = None) -> bool:
    return client.boolean("checkout", False, context)


def raise_in_operation(error: type[BaseException], client: Client, context: Context = ANN) -> None:
    with client.operation(context):
        evaluate(client)
        raise error


# Outcomes


def test_a_block_that_ends_is_ok(client: Client) -> None:
    with client.operation(ANN):
        evaluate(client)
    assert counted(client) == counts(1, 1, 0)


def test_ended_operations_leave_nothing_to_the_garbage_collector(client: Client) -> None:
    def in_a_generator() -> Iterator[bool]:
        with client.operation(ANN):
            yield evaluate(client)

    def work() -> None:
        for _ in range(50):
            with client.operation(ANN), client.operation(BOB):
                evaluate(client)
            list(in_a_generator())

    def leaves_nothing() -> bool:
        gc.collect()
        work()
        return gc.collect() == 0

    work()  # what is made once is made now
    gc.disable()
    try:
        # Threads of this process may leave something meanwhile, but not each time.
        soon(leaves_nothing, "nothing to collect")
    finally:
        gc.enable()


def test_an_exception_that_leaves_the_block_is_an_error(client: Client) -> None:
    with pytest.raises(ZeroDivisionError):
        raise_in_operation(ZeroDivisionError, client)
    assert counted(client) == counts(1, 1, 1, failing=1)


def test_an_exception_caught_in_the_block_is_no_error(client: Client) -> None:
    with client.operation(ANN):
        evaluate(client)
        with pytest.raises(ValueError, match="x"):
            int("x")
    assert counted(client) == counts(1, 1, 0)


def test_an_operation_can_be_marked_as_failed(client: Client) -> None:
    with client.operation(ANN) as operation:
        evaluate(client)
        operation.fail()
    assert counted(client) == counts(1, 1, 1, failing=1)


@pytest.mark.parametrize(
    "leaving", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError]
)
def test_an_interrupt_has_no_outcome(client: Client, leaving: type[BaseException]) -> None:
    with pytest.raises(leaving):
        raise_in_operation(leaving, client)
    assert counted(client) == counts(1, 0, 0)


def test_a_cancelled_operation_has_only_its_exposures(client: Client) -> None:
    with client.operation(ANN) as operation:
        evaluate(client)
        operation.cancel()
    assert counted(client) == counts(1, 0, 0)


def test_it_ends_once(client: Client) -> None:
    with client.operation(ANN) as operation:
        evaluate(client)
        operation.end()
        operation.fail()
        operation.end()
        operation.cancel()
    assert counted(client) == counts(1, 1, 0)


def test_an_operation_can_begin_and_end_without_a_block(client: Client) -> None:
    operation = client.operation(ANN).begin()
    evaluate(client)
    operation.end()
    assert current.get() is None
    assert counted(client) == counts(1, 1, 0)


def test_its_duration_is_reported(client: Client) -> None:
    with client.operation(ANN):
        evaluate(client)
        threading.Event().wait(0.002)
    (group,) = report_document(client._reporter)["counts"]
    assert group["treatment"]["microseconds"] >= 2_000


# Which users belong to the sample


def test_the_sample_does_not_depend_on_what_else_an_operation_does() -> None:
    """Most operations hand over the hash that decided; for others the reporter computes it."""
    flags = [a_flag(f"f{n}", release=a_release((50, []), id=f"rel_{n}")) for n in range(2)]

    def sampled(work: Callable[[Client, Operation], None]) -> Any:
        client = Client.offline(a_snapshot(*flags))
        for number in range(200):
            with client.operation(Context(f"user-{number}")) as operation:
                client.boolean("f0", False)
                work(client, operation)
        samples = report_document(client._reporter)["samples"]
        (sample,) = (each for each in samples if each["release"] == "rel_0")
        return sorted(sample["control"]), sorted(sample["treatment"])

    def evaluate_another(client: Client, _: Operation) -> None:
        client.boolean("f1", False)

    expected = sampled(lambda *_: None)
    assert sum(map(len, expected)) == 200
    assert expected == sampled(evaluate_another)
    assert expected == sampled(lambda _, operation: operation.measure("bytes", 1.0))


# Values


def basket(client: Client) -> dict[str, int]:
    """The treatment's values of ``basket_value``, by bucket."""
    entries = [
        each for each in report_document(client._reporter)["values"] if each["measure"] != "latency"
    ]
    return dict(entries[0]["treatment"]) if entries else {}


def bucket(value: float) -> str:
    return str(bucket_of(value))


def test_its_duration_is_a_value(client: Client) -> None:
    with client.operation(ANN):
        evaluate(client)
        threading.Event().wait(0.002)
    (each,) = report_document(client._reporter)["values"]
    ((number, count),) = each["treatment"].items()
    assert (each["measure"], count) == ("latency", 1)
    assert int(number) >= bucket_of(0.002)


@pytest.mark.parametrize("asks_first", [True, False])
def test_a_value_counts_before_and_after_the_evaluation(client: Client, asks_first: bool) -> None:
    with client.operation(ANN) as operation:
        if asks_first:
            evaluate(client)
        operation.measure("basket_value", 12.5)
        if not asks_first:
            evaluate(client)
    assert basket(client) == {bucket(12.5): 1}


def test_the_last_of_several_values_counts(client: Client) -> None:
    with client.operation(ANN) as operation:
        evaluate(client)
        operation.measure("basket_value", 1)
        client.measure("basket_value", float(Decimal("99.5")))
    assert basket(client) == {bucket(99.5): 1}


def test_a_value_that_no_release_asks_for_is_ignored(client: Client) -> None:
    with client.operation(ANN) as operation:
        evaluate(client)
        operation.measure("clicks", 3)
    assert basket(client) == {}
    assert client.status().dropped == 0


def test_a_value_of_a_cancelled_operation_does_not_count(client: Client) -> None:
    operation = client.operation(ANN).begin()
    evaluate(client)
    operation.measure("basket_value", 5)
    operation.cancel()
    assert report_document(client._reporter)["values"] == []


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, 10**400, "much", None, [1], object()]
)
def test_a_value_that_is_not_a_finite_number_is_dropped_and_counted(
    client: Client, value: Any
) -> None:
    with client.operation(ANN) as operation:
        evaluate(client)
        operation.measure("basket_value", value)
    assert basket(client) == {}
    assert client.status().dropped == 1
    assert counted(client) == counts(1, 1, 0)


class Unprintable:
    def __repr__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize("name", [7, None, Unprintable()], ids=["7", "None", "unprintable"])
def test_a_value_without_a_name_is_dropped(client: Client, name: Any) -> None:
    with client.operation(ANN) as operation:
        evaluate(client)
        operation.measure(name, 1.0)
    assert client.status().dropped == 1


def test_a_value_after_the_end_is_dropped(client: Client) -> None:
    with client.operation(ANN) as operation:
        evaluate(client)
    operation.measure("basket_value", 5)
    assert basket(client) == {}


def test_very_many_values_do_not_fill_the_memory(client: Client) -> None:
    with client.operation(ANN) as operation:
        evaluate(client)
        operation.measure("basket_value", 1)
        for number in range(1_000):
            operation.measure(f"value-{number}", number)
        operation.measure("basket_value", 5)
    assert basket(client) == {bucket(5): 1}
    assert client.status().dropped == 1_000 - MAX_VALUES + 1


def test_a_client_measures_only_in_its_own_operation(client: Client) -> None:
    other = Client.offline(SNAPSHOT)
    client.measure("basket_value", 5)  # outside of any
    with client.operation(ANN):
        evaluate(client)
        other.measure("basket_value", 7)
    assert (basket(client), basket(other)) == ({}, {})


def test_a_client_fails_only_its_own_operation(client: Client) -> None:
    client.fail()  # outside of any
    with client.operation(ANN):
        evaluate(client)
        Client.offline(SNAPSHOT).fail()
    assert counted(client) == counts(1, 1, 0)
    with client.operation(ANN):
        evaluate(client)
        client.fail()
    assert counted(client) == counts(2, 2, 1, 1)


# Exposures


def test_a_block_may_begin_an_operation_that_has_begun(client: Client) -> None:
    with client.operation(ANN).begin() as operation:
        evaluate(client)
        assert current.get() is operation
    assert current.get() is None
    assert counted(client) == counts(1, 1, 0)


def test_an_operation_that_another_thread_has_ended_is_not_current_after_its_block(
    client: Client,
) -> None:
    with client.operation(ANN) as operation:
        evaluate(client)
        thread = threading.Thread(target=operation.end)
        thread.start()
        thread.join()
    assert current.get() is None
    assert counted(client) == counts(1, 1, 0)


def test_an_operation_that_begins_again_within_another_ends(client: Client) -> None:
    outer = client.operation(ANN).begin()
    inner = client.operation(BOB).begin()
    outer.begin()
    evaluate(client)
    inner.end()
    outer.end()
    assert current.get() is None
    assert counted(client) == counts(1, 1, 0)


@pytest.mark.parametrize("within_another", [False, True])
def test_an_operation_that_is_used_again_is_logged_once_and_counted_as_dropped(
    client: Client, caplog: pytest.LogCaptureFixture, within_another: bool
) -> None:
    around = client.operation(BOB).begin() if within_another else None
    operation = client.operation(ANN)
    for _ in range(3):
        with operation:
            evaluate(client)
        assert current.get() is around
    with pytest.raises(ZeroDivisionError), operation:
        raise ZeroDivisionError
    assert current.get() is around
    assert client.status().dropped == (3 if within_another else 2)
    (message,) = caplog.messages
    assert "call client.operation(...) for each unit of work" in message
    if around is not None:
        around.end()


def test_an_operation_with_values_that_is_used_again_is_counted_as_dropped(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    operation = client.operation(ANN)
    for _ in range(2):
        with operation:
            evaluate(client)
            operation.measure("basket", 3.0)
        assert current.get() is None
    assert counted(client) == counts(1, 1, 0)
    assert client.status().dropped == 1
    assert "used again after its end" in caplog.text


def test_evaluating_a_flag_twice_is_one_exposure(client: Client) -> None:
    with client.operation(ANN):
        evaluate(client)
        evaluate(client)
        client.boolean_details("checkout", False)
    assert counted(client) == counts(1, 1, 0)


def test_without_a_release_there_is_nothing_to_count() -> None:
    client = Client.offline(a_snapshot(a_flag("plain")))
    with client.operation(ANN):
        assert client.boolean("plain", False)
    assert report_document(client._reporter)["counts"] == []


def test_outside_of_an_operation_there_is_no_outcome(client: Client) -> None:
    evaluate(client, ANN)
    client.boolean_details("checkout", False, ANN)
    assert counted(client) == counts(2, 0, 0)


def test_a_prerequisites_release_counts_too() -> None:
    asked = a_flag("asked", release=a_release((100, []), id="rel_asked"))
    flag = a_flag(
        "asks", prerequisites=prerequisites("asked"), release=a_release((100, []), id="rel_asks")
    )
    client = Client.offline(a_snapshot(asked, flag))
    with client.operation(ANN):
        assert client.boolean("asks", False)
    counts = report_document(client._reporter)["counts"]
    assert [group["release"] for group in counts] == ["rel_asked", "rel_asks"]
    assert all(group["treatment"]["outcomes"] == 1 for group in counts)


def test_a_users_first_arm_of_a_release_counts() -> None:
    """An evaluation with other attributes may return the other arm."""
    segments = {"pro": {"when": {"attribute": "plan", "operator": "in", "value": ["pro"]}}}
    flag = a_flag("a", release=a_release((100, ["pro"]), (50, [])))
    client = Client.offline(a_snapshot(flag, **segments))
    with client.operation(Context("ann", plan="pro")):
        assert client.boolean("a", False) is True
        client.boolean("a", False, Context("ann", plan="free"))
    totals = report_document(client._reporter)["counts"]
    assert sum(each["treatment"]["outcomes"] for each in totals) == 1
    assert sum(each["control"]["outcomes"] for each in totals) == 0


# Several users


def failing(client: Client) -> set[str]:
    return {user for part in report_document(client._reporter)["failing"] for user in part["users"]}


def test_an_operation_that_evaluates_for_several_users_counts_each_of_them(
    client: Client,
) -> None:
    with client.operation(ANN) as operation:
        for _ in range(2):
            for user in (ANN, BOB, Context("ann"), Context("bob"), Context("carla")):
                evaluate(client, user)
                client.boolean_details("checkout", False, user)
        operation.fail()
    assert counted(client) == counts(3, 3, 3, failing=3)
    assert failing(client) == {user_hash(name) for name in ("ann", "bob", "carla")}


def test_a_context_with_the_operations_key_is_no_other_user(client: Client) -> None:
    """OpenFeature's client makes a context for each evaluation."""
    with client.operation(ANN) as operation:
        for plan in ("free", "pro"):
            client.boolean_details("checkout", False, Context("ann", plan=plan))
            evaluate(client, Context("ann", plan=plan))
            client._evaluate_boolean("checkout", Context("ann", plan=plan))
        evaluate(client)
        assert operation.users == {}
        operation.fail()
    assert counted(client) == counts(1, 1, 1, failing=1)


def test_each_user_counts_in_the_own_arm() -> None:
    client = Client.offline(a_snapshot(a_flag("a", release=a_release((50, [])))))
    users = [Context(f"u{number}") for number in range(40)]
    arms = [client.boolean("a", False, user) for user in users]
    client = Client.offline(a_snapshot(a_flag("a", release=a_release((50, [])))))
    with client.operation():
        for user in users:
            client.boolean("a", False, user)
    (group,) = report_document(client._reporter)["counts"]
    assert group["treatment"]["outcomes"] == arms.count(True)
    assert group["control"]["outcomes"] == arms.count(False)


def test_a_user_who_turns_out_to_be_the_operations_own_counts_once(client: Client) -> None:
    """The context of a request is resolved at the first evaluation without one."""
    with client.operation_of(lambda: ANN) as operation:
        evaluate(client, Context("ann"))
        evaluate(client, BOB)
        evaluate(client)
        operation.fail()
    assert counted(client) == counts(2, 2, 2, failing=2)


def test_very_many_users_do_not_fill_the_memory(client: Client) -> None:
    with client.operation(ANN):
        for number in range(MAX_USERS + 7):
            evaluate(client, Context(f"u{number}"))
        evaluate(client)
    assert counted(client) == counts(MAX_USERS + 1, MAX_USERS + 1, 0)
    assert client.status().dropped == 7


def test_the_failing_user_is_the_one_of_the_evaluations_context(client: Client) -> None:
    with client.operation(ANN) as operation:
        evaluate(client, BOB)
        operation.fail()
    assert failing(client) == {user_hash("bob")}


def test_an_operation_of_another_client_gets_no_exposures(client: Client) -> None:
    other = Client.offline(SNAPSHOT)
    with other.operation(ANN):
        evaluate(client)
    assert counted(client) == counts(1, 0, 0)
    assert counted(other) == counts(0, 0, 0)


# Contexts


def test_evaluations_use_the_operations_context() -> None:
    rule = {
        "id": "ann",
        "when": {"attribute": "targetingKey", "operator": "equals", "value": "ann"},
        "serve": {"variant": "off"},
    }
    client = Client.offline(a_snapshot(a_flag("a", rules=[rule])))
    assert client.boolean("a", True) is True
    with client.operation(ANN):
        assert client.boolean("a", True) is False
        assert client.boolean("a", True, BOB) is True
    assert client.boolean("a", True) is True


def test_a_context_is_resolved_once_at_the_first_evaluation(client: Client) -> None:
    calls: list[int] = []

    def context() -> Context:
        calls.append(1)
        return ANN

    with client.operation_of(context):
        pass
    assert calls == []
    with client.operation_of(context) as operation:
        evaluate(client)
        evaluate(client)
        operation.fail()
    assert calls == [1]
    (part,) = report_document(client._reporter)["failing"]
    assert part["users"] == [user_hash("ann")]


def test_a_context_callback_that_raises_is_logged_once(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    class NotLoggedIn(Exception):
        pass

    def context() -> Context:
        raise NotLoggedIn

    caplog.set_level(logging.INFO, "tidegate")
    for _ in range(3):
        with client.operation_of(context):
            assert evaluate(client) is True
    assert counted(client) == counts(3, 3, 0)
    line = context.__code__.co_firstlineno + 1
    assert [record.getMessage() for record in caplog.records] == [
        f"the context callback raised NotLoggedIn at {__file__}:{line}: "
        "evaluating without a context"
    ]
    assert client.status().invalid_contexts == 3


def test_a_context_callback_that_returns_another_type_is_logged_once(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    async def context() -> Context:
        return Context("ann")

    caplog.set_level(logging.INFO, "tidegate")
    for _ in range(3):
        with client.operation_of(cast(Any, context)):
            assert evaluate(client) is True
    assert counted(client) == counts(3, 3, 0)
    assert [record.getMessage() for record in caplog.records] == [
        "the context callback returned coroutine instead of Context or str: "
        "evaluating without a context"
    ]


@pytest.mark.parametrize("wrong", [{"targetingKey": "ann"}, b"ann", 7, None], ids=repr)
def test_a_context_of_the_wrong_type_raises_nothing(client: Client, wrong: Any) -> None:
    for operation in (client.operation(wrong), client.operation_of(lambda: wrong)):
        with operation:
            evaluate(client)
            operation.fail()
    assert counted(client)["errors"] == 2


# The current operation


def test_operations_nest(client: Client) -> None:
    with client.operation(ANN) as outer:
        with client.operation(BOB) as inner:
            assert current.get() is inner
            evaluate(client)
            inner.fail()
        assert current.get() is outer
        evaluate(client)
    assert current.get() is None
    assert counted(client) == counts(2, 2, 1, failing=1)


def test_the_outer_operation_may_end_first(client: Client) -> None:
    """A server may close a response after the next request began."""
    outer = client.operation(ANN).begin()
    inner = client.operation(BOB).begin()
    evaluate(client)
    outer.end()
    assert current.get() is inner
    evaluate(client)
    inner.end()
    assert current.get() is None
    assert counted(client) == counts(1, 1, 0)


def test_an_operation_that_began_in_a_block_may_end_after_it(client: Client) -> None:
    with client.operation(ANN):
        inner = client.operation(BOB).begin()
        evaluate(client)
    assert current.get() is inner
    evaluate(client, ANN)
    inner.end()
    assert current.get() is None
    assert counted(client) == counts(2, 2, 0)


def test_a_block_may_end_in_another_context_than_it_began_in(client: Client) -> None:
    operation = client.operation(ANN)
    operation.__enter__()
    evaluate(client)
    with_operation = contextvars.copy_context()
    with_operation.run(operation.__exit__, None, None, None)
    assert with_operation[current] is None
    with client.operation(BOB) as another:
        evaluate(client)
        assert current.get() is another
    assert current.get() is None
    assert counted(client) == counts(2, 2, 0)


def test_a_block_that_ends_in_another_operation_leaves_that_one_current(client: Client) -> None:
    operation, empty = client.operation(ANN), contextvars.copy_context()
    operation.__enter__()

    def work() -> None:
        with client.operation(BOB) as another:
            operation.__exit__(None, None, None)
            assert current.get() is another
            evaluate(client)

    empty.run(work)
    assert counted(client) == counts(1, 1, 0)


def test_an_operation_that_ended_in_another_thread_does_not_stay_current(client: Client) -> None:
    left_behind = client.operation(ANN).begin()
    ended = threading.Thread(target=left_behind.end)
    ended.start()
    ended.join()
    with client.operation(BOB) as operation:
        evaluate(client)
        assert current.get() is operation
    assert current.get() is None
    assert counted(client) == counts(1, 1, 0)


def test_an_evaluation_after_the_end_counts_as_an_exposure_without_an_outcome(
    client: Client,
) -> None:
    operation = client.operation(ANN)
    with operation:
        later = contextvars.copy_context()
    for _ in range(3):
        assert later.run(evaluate, client) is True
    assert operation.context is ANN
    assert counted(client) == counts(1, 0, 0)
    later.run(evaluate, client, BOB)
    assert counted(client) == counts(2, 0, 0)


def test_very_many_exposures_after_the_end_do_not_fill_the_memory(client: Client) -> None:
    operation = client.operation(ANN)
    with operation:
        later = contextvars.copy_context()
    for number in range(MAX_LATE + 10):
        later.run(evaluate, client, Context(f"user-{number}"))
    assert counted(client) == counts(MAX_LATE, 0, 0)
    assert client.status().dropped == 10


def test_each_thread_has_its_own_operation(client: Client) -> None:
    barrier = threading.Barrier(4)
    seen: dict[int, bool] = {}

    def work(number: int) -> None:
        with client.operation(Context(f"u{number}")) as operation:
            barrier.wait()
            seen[number] = current.get() is operation
            evaluate(client)
            barrier.wait()
            if number % 2:
                operation.fail()

    with client.operation(ANN), ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert seen == dict.fromkeys(range(4), True)
    assert counted(client) == counts(4, 4, 2, failing=2)


def test_each_task_has_its_own_operation(client: Client) -> None:
    async def work(number: int) -> None:
        with client.operation(Context(f"u{number}")) as operation:
            await asyncio.sleep(0)
            assert current.get() is operation
            evaluate(client)
            await asyncio.sleep(0)
            if number % 2:
                raise ValueError(number)

    async def main() -> None:
        await asyncio.gather(*(work(number) for number in range(10)), return_exceptions=True)
        assert current.get() is None

    asyncio.run(main())
    assert counted(client) == counts(10, 10, 5, failing=5)


def test_a_cancelled_task_has_no_outcome(client: Client) -> None:
    async def work() -> None:
        with client.operation(ANN):
            evaluate(client)
            await asyncio.sleep(60)

    async def main() -> None:
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert counted(client) == counts(1, 0, 0)


def test_a_thread_with_a_copy_of_the_context_belongs_to_the_operation(client: Client) -> None:
    async def main() -> None:
        with client.operation(ANN):
            assert await asyncio.to_thread(evaluate, client)

    asyncio.run(main())
    assert counted(client) == counts(1, 1, 0)


def test_an_operation_can_end_while_a_task_evaluates() -> None:
    """Other threads evaluate flags in the same operation while it ends."""
    flags = [
        a_flag(f"f{number}", release=a_release((100, []), id=f"rel_{number}"))
        for number in range(300)
    ]
    client = Client.offline(a_snapshot(*flags))
    for _ in range(20):
        operation = client.operation(ANN).begin()
        around = contextvars.copy_context()
        begun = threading.Event()

        def keep_asking(begun: threading.Event = begun) -> None:
            for number in range(300):
                client.boolean(f"f{number}", False)
                begun.set()

        asking = threading.Thread(target=around.run, args=(keep_asking,))
        asking.start()
        begun.wait()
        operation.end()
        asking.join()
    exposures = sum(
        each["treatment"]["exposures"] for each in report_document(client._reporter)["counts"]
    )
    assert exposures <= 20 * 300


def test_a_generator_that_is_closed_ends_its_operation(client: Client) -> None:
    def stream() -> Any:
        with client.operation(ANN):
            evaluate(client)
            yield 1
            yield 2

    pieces = stream()
    next(pieces)
    pieces.close()
    assert counted(client) == counts(1, 0, 0)


def test_an_operation_is_made_by_a_client() -> None:
    assert isinstance(Client.offline(SNAPSHOT).operation(), Operation)
