"""Sets flags in an application's tests: no network, no server, no waiting.

::

    from tidegate.testing import flags

    with flags(new_checkout=True) as asked:
        response = browser.get("/checkout")
    asked.assert_asked("new-checkout")

    @flags({"new-checkout": True})
    def test_checkout(): ...

    @each_variant("new-checkout")
    def test_checkout_either_way(): ...

The flags apply to every client in this process, so the application under test keeps the
client that it made at import. They apply in the current thread or task, and in what it starts
with a copy of its context. ``everywhere=True`` makes them apply in all threads, for a server
under test that answers in its own threads.

Importing this module changes ``tidegate.Client``: import it in tests only.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, TypeVar
from unittest import TestCase

from tidegate.client import Client
from tidegate.context import NOBODY, Context, usable_context
from tidegate.current_operation import current_operation
from tidegate.details import EvaluationDetails
from tidegate.errors import UnknownFlag, WrongType
from tidegate.evaluation.flag_compiler import has_type
from tidegate.evaluation.results import Evaluation
from tidegate.model import FlagType

__all__ = [
    "NO_FLAGS",
    "Asked",
    "UnknownFlag",
    "WrongType",
    "client",
    "each_variant",
    "flags",
    "override",
]

F = TypeVar("F", bound=Callable[..., Any])

NO_FLAGS: Mapping[str, Any] = {
    "schema": 1, "project": "test", "environment": "test", "version": 0,
    "flags": {}, "segments": {},
}  # fmt: skip
"""A snapshot without flags."""


def client() -> Client:
    """Return a client without a network and without flags: it returns the defaults."""
    return Client.offline(NO_FLAGS)


class flags:  # noqa: N801 - used like a function
    """Sets flags for a block, a test function or a method of a test class.

    In keyword arguments, write underscores for dashes and dots; in a mapping, write the keys
    as they are. Blocks nest: for each flag, the innermost block that sets it wins.

    Args:
        mapping: flags by key.
        strict: raise ``UnknownFlag`` if the application asks for a flag that no block sets.
        everywhere: apply in all threads of the process.
        values: flags by name.

    Raises:
        TypeError: ``mapping`` is no mapping; or what is decorated is a class or a generator.
    """

    def __init__(
        self,
        mapping: Mapping[str, Any] | None = None,
        /,
        *,
        strict: bool = False,
        everywhere: bool = False,
        **values: Any,
    ) -> None:
        if not isinstance(mapping, Mapping | None):
            raise TypeError(
                f"flags got {mapping!r}: give each flag by name, as in flags(new_checkout=True), "
                'or a mapping, as in flags({"new-checkout": True})'
            )
        given = {**(mapping or {}), **values}
        self._values = {_normalized(key): value for key, value in given.items()}
        self._strict = strict
        self._everywhere = everywhere
        self._entered: list[tuple[_Block, Token[_Block | None] | None]] = []

    def __enter__(self) -> Asked:
        block = _Block(self._values, self._strict, _innermost_block())
        token = None if self._everywhere else _block.set(block)
        if self._everywhere:
            _everywhere.append(block)
        self._entered.append((block, token))
        return block.asked

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        block, token = self._entered.pop()
        if token is None:
            _everywhere.remove(block)
        else:
            _block.reset(token)

    def __call__(self, function: F) -> F:
        """Set the flags for each call of a function or a coroutine function."""
        _refuse_other_than_functions(function, "flags", "mark it with @pytest.mark.flags(...)")
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def set_and_await(*args: Any, **kwargs: Any) -> Any:
                with self._copy():
                    return await function(*args, **kwargs)

            return set_and_await  # type: ignore[return-value]

        @functools.wraps(function)
        def set_and_call(*args: Any, **kwargs: Any) -> Any:
            with self._copy():
                return function(*args, **kwargs)

        return set_and_call  # type: ignore[return-value]

    def _copy(self) -> flags:
        # One for each call, so that concurrent and recursive calls do not share a stack.
        return flags(self._values, strict=self._strict, everywhere=self._everywhere)


override = flags
"""The name that other libraries use for ``flags``."""


def each_variant(key: str, *values: Any) -> Callable[[F], F]:
    """Run a test function or a method of a test class once for each variant of a flag.

    pytest runs a separate test for each value. A method of ``unittest.TestCase`` runs a subtest
    for each, under any runner. Several decorators give every combination.

    Args:
        key: the flag.
        values: the values of its variants; False and True when none are given.

    Raises:
        TypeError: what is decorated is a class or a generator.
    """
    varied = values or (False, True)

    def decorate(function: F) -> F:
        _refuse_other_than_functions(function, "each_variant", "decorate its methods")
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def run_async(*args: Any, **kwargs: Any) -> None:
                for block in _variant_blocks(key, varied, args):
                    with block:
                        await function(*args, **kwargs)

            run: Any = run_async
        else:

            @functools.wraps(function)
            def run_each(*args: Any, **kwargs: Any) -> None:
                for block in _variant_blocks(key, varied, args):
                    with block:
                        function(*args, **kwargs)

            run = run_each
        run.tidegate_variants = {key: varied, **getattr(function, "tidegate_variants", {})}
        return run  # type: ignore[no-any-return]

    return decorate


def _refuse_other_than_functions(decorated: object, decorator: str, for_classes: str) -> None:
    """Refuse a class, whose tests would not be found, and a generator, which runs after the call.

    Raises:
        TypeError: it is one of these.
    """
    name = getattr(decorated, "__qualname__", repr(decorated))
    if inspect.isclass(decorated):
        raise TypeError(f"{decorator} cannot decorate the class {name}: {for_classes}")
    if inspect.isgeneratorfunction(decorated) or inspect.isasyncgenfunction(decorated):
        raise TypeError(
            f"{decorator} cannot decorate the generator {name}: write `with flags(...):` in it"
        )


chosen_variants: ContextVar[frozenset[str]] = ContextVar(
    "tidegate-chosen-variants", default=frozenset()
)
"""The flags whose values the pytest plugin sets for the test that runs."""


def _variant_blocks(
    key: str, values: tuple[Any, ...], args: tuple[Any, ...]
) -> Iterator[AbstractContextManager[Any]]:
    """Yield a block for each run of a test."""
    if key in chosen_variants.get():
        yield nullcontext()
        return
    for value in values:
        block = ExitStack()
        if args and isinstance(args[0], TestCase):
            block.enter_context(args[0].subTest(f"{key}={value!r}"))
        block.enter_context(flags({key: value}))
        yield block


class Asked:
    """The evaluations of a block: which flags the application asked for, and what it got."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str, str | None]] = Counter()

    def note(self, key: str, value: object, targeting_key: str | None) -> None:
        """Record an evaluation."""
        with self._lock:
            self._counts[_normalized(key), repr(value), targeting_key] += 1

    def count(self, key: str, value: object = ..., by: str | None = None) -> int:
        """Return how often the application asked for a flag.

        Args:
            key: the flag.
            value: count only evaluations with this value.
            by: count only evaluations for this targeting key.
        """
        with self._lock:
            return sum(
                count
                for (flag, got, targeting_key), count in self._counts.items()
                if flag == _normalized(key)
                and (value is ... or got == repr(value))
                and (by is None or targeting_key == by)
            )

    def assert_asked(self, key: str, value: object = ..., by: str | None = None) -> None:
        """Fail unless the application asked for the flag; the arguments are those of ``count``."""
        if not self.count(key, value, by):
            given = {f"{flag} (got {value})" for flag, value, _ in self._counts}
            keys = ", ".join(sorted(given)) or "no flag"
            got = "" if value is ... else f" and got {value!r}"
            user = "" if by is None else f" for {by!r}"
            raise AssertionError(
                f"the application never asked for {key!r}{user}{got}; it asked for: {keys}"
            )

    def assert_not_asked(self, key: str) -> None:
        """Fail if the application asked for the flag."""
        if count := self.count(key):
            raise AssertionError(f"the application asked for {key!r} {count} times")


class _Block:
    """The flags of one block, and the block around it."""

    def __init__(self, values: Mapping[str, Any], strict: bool, outer: _Block | None) -> None:
        self.values = values
        self.strict = strict
        self.outer = outer
        self.asked = Asked()


_block: ContextVar[_Block | None] = ContextVar("tidegate-testing", default=None)
_everywhere: list[_Block] = []
_NOT_SET = object()


def _normalized(key: str) -> str:
    return key.replace("-", "_").replace(".", "_")


def _innermost_block() -> _Block | None:
    return _block.get() or (_everywhere[-1] if _everywhere else None)


def _open_blocks() -> list[_Block]:
    """Return the blocks that apply here, the innermost first."""
    blocks, block = [], _innermost_block()
    while block is not None:
        blocks.append(block)
        block = block.outer
    return blocks


def _value_set(key: str, blocks: list[_Block]) -> Any:
    """Return the value that the blocks set for a flag, or ``_NOT_SET``."""
    for block in blocks:
        if _normalized(key) in block.values:
            return block.values[_normalized(key)]
    if any(block.strict for block in blocks):
        raise UnknownFlag(
            f"the application asked for the flag {key!r}, which the test does not set: "
            f"flags({_normalized(key)}=...)"
        )
    return _NOT_SET


def _record(key: str, value: object, context: Context | str | None, blocks: list[_Block]) -> None:
    if context is None:
        operation = current_operation()
        context = NOBODY if operation is None else operation.resolve_context()
    targeting_key = usable_context(context).targeting_key
    for block in blocks:
        block.asked.note(key, value, targeting_key)


_details = Client._details
_evaluate_boolean = Client._evaluate_boolean


def _in_tests(method: str) -> Callable[..., Any]:
    """Return a method that evaluates a flag, so that it respects the open blocks."""
    outside_of_blocks = getattr(Client, method)

    @functools.wraps(outside_of_blocks)
    def evaluate(self: Client, key: str, default: Any, context: Context | str | None = None) -> Any:
        if not _open_blocks():
            return outside_of_blocks(self, key, default, context)
        return getattr(self, f"{method}_details")(key, default, context).value

    return evaluate


def _details_in_tests(
    self: Client,
    type_: FlagType,
    key: str,
    default: Any,
    context: Context | str | None,
    convert: Callable[[Any], Any],
) -> EvaluationDetails[Any]:
    blocks = _open_blocks()
    value = _value_set(key, blocks) if blocks else _NOT_SET
    if value is _NOT_SET:
        details = _details(self, type_, key, default, context, convert)
    elif not has_type(value, type_):
        raise WrongType(f"the application asked for {key!r} as a {type_}; the test sets {value!r}")
    else:
        details = EvaluationDetails(key, convert(value), None, "STATIC", None, None, {})
    if blocks:
        _record(key, details.value, context, blocks)
    return details


def _evaluate_boolean_in_tests(self: Client, key: str, context: Context) -> Evaluation | None:
    return None if _open_blocks() else _evaluate_boolean(self, key, context)


for _method in ("boolean", "string", "integer", "float", "object"):
    setattr(Client, _method, _in_tests(_method))
Client._evaluate_boolean = _evaluate_boolean_in_tests  # type: ignore[method-assign]
Client._details = _details_in_tests  # type: ignore[method-assign]
