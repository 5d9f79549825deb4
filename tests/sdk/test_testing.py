from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pytest
from tidegate import Client, Context
from tidegate.testing import (
    NO_FLAGS,
    UnknownFlag,
    WrongType,
    client,
    each_variant,
    flags,
    override,
)

app = client()
"""Made once, at import, as an application does."""


def test_without_a_block_the_application_gets_its_defaults() -> None:
    assert app.boolean("new-checkout", True) is True
    assert app.boolean_details("new-checkout", False).error_code == "FLAG_NOT_FOUND"


def test_a_block_sets_flags_of_every_type_for_every_client() -> None:
    with flags({"page.size": 20, "ratio": 0.5}, new_checkout=True, theme="dark", banner={"a": 1}):
        for asked in (app, client()):
            assert asked.boolean("new-checkout", False) is True
            assert asked.string("theme", "plain") == "dark"
            assert asked.integer("page.size", 10) == 20
            assert asked.float("ratio", 1.0) == 0.5
            assert asked.object("banner", {}) == {"a": 1}
    assert app.boolean("new-checkout", False) is False


def test_the_reason_of_a_set_value_is_static() -> None:
    with flags(theme="dark"):
        details = app.string_details("theme", "plain")
    assert (details.value, details.reason, details.error_code) == ("dark", "STATIC", None)


def test_the_application_gets_a_copy_of_an_object() -> None:
    banner: dict[str, int] = {}
    with flags(banner=banner):
        value: dict[str, int] = app.object("banner", {})
        value["changed"] = 1
    assert banner == {}


def test_the_inner_block_wins_flag_by_flag() -> None:
    with flags(one=True, two=True):
        with flags(two=False):
            assert app.boolean("one", False) is True
            assert app.boolean("two", True) is False
        assert app.boolean("two", False) is True


@flags(new_checkout=True)
def decorated(depth: int = 1) -> bool:
    return app.boolean("new-checkout", False) and (depth == 0 or decorated(depth - 1))


@flags(new_checkout=True)
async def awaited() -> bool:
    await asyncio.sleep(0)
    return app.boolean("new-checkout", False)


def test_functions_and_coroutine_functions_can_be_decorated() -> None:
    assert decorated()
    assert asyncio.run(awaited())
    assert app.boolean("new-checkout", False) is False


def test_a_value_of_the_wrong_type_fails_the_test() -> None:
    with flags(new_checkout="yes"), pytest.raises(WrongType, match="'new-checkout' as a boolean"):
        app.boolean("new-checkout", False)


def test_a_strict_block_refuses_flags_that_no_block_sets() -> None:
    with flags(strict=True, known=True):
        assert app.boolean("known", False) is True
        with pytest.raises(UnknownFlag, match=r"flags\(other_flag=\.\.\.\)"):
            app.boolean("other-flag", False)
        with flags(other_flag=True):
            assert app.boolean("other-flag", False) is True
    assert app.boolean("other-flag", False) is False


def test_evaluations_are_recorded() -> None:
    with flags(new_checkout=True) as asked:
        app.boolean("new-checkout", False, Context("ana"))
        with app.operation(Context("bob")):
            app.boolean("new-checkout", False)
            app.string("theme", "plain")
    assert asked.count("new-checkout") == 2
    asked.assert_asked("new-checkout", True, by="ana")
    asked.assert_asked("new_checkout", by="bob")
    asked.assert_asked("theme", "plain", by="bob")
    asked.assert_not_asked("other")
    with pytest.raises(AssertionError, match="never asked for 'other'; it asked for: new_checkout"):
        asked.assert_asked("other")
    with pytest.raises(AssertionError, match="and got False"):
        asked.assert_asked("new-checkout", False)
    with pytest.raises(AssertionError, match="asked for 'new-checkout' 2 times"):
        asked.assert_not_asked("new-checkout")


def test_a_block_does_not_apply_in_other_threads() -> None:
    barrier = threading.Barrier(8)

    def ask(number: int) -> list[int]:
        with flags(number=number):
            barrier.wait(timeout=30)
            return [app.integer("number", -1) for _ in range(50)]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert answers == [[number] * 50 for number in range(8)]


def test_a_block_applies_in_a_thread_with_a_copy_of_the_context() -> None:
    with flags(number=1), ThreadPoolExecutor(1) as pool:
        assert pool.submit(copy_context().run, app.integer, "number", -1).result() == 1
        assert pool.submit(app.integer, "number", -1).result() == -1


def test_everywhere_applies_in_every_thread() -> None:
    with flags(number=1, everywhere=True) as asked, ThreadPoolExecutor(1) as pool:
        assert pool.submit(app.integer, "number", -1).result() == 1
    assert app.integer("number", -1) == -1
    asked.assert_asked("number", 1)


def test_a_block_can_be_entered_again() -> None:
    block = flags(new_checkout=True)
    for _ in range(2):
        with block:
            assert app.boolean("new-checkout", False)


@pytest.mark.parametrize("decorate", [flags(new_checkout=True), each_variant("new-checkout")])
def test_what_is_no_function_is_not_decorated(decorate: Callable[[object], object]) -> None:
    """A test runner would not find the tests of the class, and a fixture would set nothing."""

    def fixture() -> Iterator[None]:
        yield

    async def asynchronous() -> AsyncIterator[None]:
        yield

    class TestShop:
        pass

    for decorated in (TestShop, fixture, asynchronous):
        with pytest.raises(TypeError, match=f"{decorated.__name__}: "):
            decorate(decorated)


def test_flags_that_are_no_mapping_are_refused_with_the_right_form() -> None:
    wrong: Any = "new-checkout"
    with pytest.raises(TypeError, match=r"as in flags\(new_checkout=True\)"):
        flags(wrong)


def test_override_is_another_name_of_flags() -> None:
    with override(new_checkout=True):
        assert Client.offline(NO_FLAGS).boolean("new-checkout", False)
