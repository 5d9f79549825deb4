"""Flags in the tests of an application: no network, no server, no waiting.

::

    from tidegate.testing import flags

    with flags(new_checkout=True) as asked:
        response = browser.get("/checkout")
    asked.assert_asked("new-checkout")

    @flags({"new-checkout": True})
    def test_checkout(): ...

What is set holds for every client in this process, so the application under test keeps
the client that it made at import. It holds in the present thread or task and in what they
start with a copy of their context; ``everywhere=True`` makes it hold in all threads, for a
server under test that answers in threads of its own.

Importing this module changes ``tidegate.Client``: import it from tests alone.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, TypeVar

from tidegate.client import Client
from tidegate.context import NOBODY, Context
from tidegate.details import EvaluationDetails
from tidegate.errors import UnknownFlag, WrongType
from tidegate.evaluation.flag_compiler import has_type
from tidegate.evaluation.results import Evaluation
from tidegate.model import FlagType
from tidegate.operation import current

__all__ = ["NO_FLAGS", "Asked", "UnknownFlag", "WrongType", "client", "flags", "override"]

F = TypeVar("F", bound=Callable[..., Any])

NO_FLAGS: Mapping[str, Any] = {
    "schema": 1, "project": "test", "environment": "test", "version": 0,
    "flags": {}, "segments": {},
}  # fmt: skip


def client() -> Client:
    """Return a client without a network that knows no flag: it gives the defaults."""
    return Client.offline(NO_FLAGS)


class flags:  # noqa: N801 - used like a function
    """Set flags for a block, a test function or a test class's method.

    Names may be written with underscores for dashes and dots; a mapping takes them as
    they are. Blocks nest: the inner one wins, flag by flag.

    Args:
        mapping: flags by key.
        strict: whether asking for a flag that no block sets raises ``UnknownFlag``.
        everywhere: whether it holds in all threads of the process.
        values: flags by name.
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
        self._values = {_plain(key): value for key, value in {**(mapping or {}), **values}.items()}
        self._strict = strict
        self._everywhere = everywhere
        self._entered: list[tuple[_Block, Token[_Block | None] | None]] = []

    def __enter__(self) -> Asked:
        block = _Block(self._values, self._strict, _inner())
        token = None if self._everywhere else _here.set(block)
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
            _here.reset(token)

    def __call__(self, function: F) -> F:
        """Set the flags for each call of a function, a coroutine function included."""
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def set_and_await(*args: Any, **kwargs: Any) -> Any:
                with self._again():
                    return await function(*args, **kwargs)

            return set_and_await  # type: ignore[return-value]

        @functools.wraps(function)
        def set_and_call(*args: Any, **kwargs: Any) -> Any:
            with self._again():
                return function(*args, **kwargs)

        return set_and_call  # type: ignore[return-value]

    def _again(self) -> flags:
        # A call of its own, so that concurrent and recursive calls do not share a stack.
        return flags(self._values, strict=self._strict, everywhere=self._everywhere)


override = flags
"""The same under the name that other libraries use."""


class Asked:
    """What the application asked for within a block, and what it got."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: Counter[tuple[str, str, str | None]] = Counter()

    def note(self, key: str, value: object, targeting_key: str | None) -> None:
        """Remember a question and its answer."""
        with self._lock:
            self._answers[_plain(key), repr(value), targeting_key] += 1

    def count(self, key: str, value: object = ..., by: str | None = None) -> int:
        """Return how often a flag was asked for.

        Args:
            key: the flag.
            value: only where this was the answer; left out, whatever it was.
            by: only for this targeting key.
        """
        with self._lock:
            return sum(
                times
                for (asked, answer, whom), times in self._answers.items()
                if asked == _plain(key)
                and (value is ... or answer == repr(value))
                and (by is None or whom == by)
            )

    def assert_asked(self, key: str, value: object = ..., by: str | None = None) -> None:
        """Fail unless the flag was asked for, with this answer and by this one if given."""
        if not self.count(key, value, by):
            seen = ", ".join(sorted({asked for asked, _, _ in self._answers})) or "nothing"
            got = "" if value is ... else f" and got {value!r}"
            whom = "" if by is None else f" for {by!r}"
            raise AssertionError(f"nobody asked for {key!r}{got}{whom}; asked for: {seen}")

    def assert_not_asked(self, key: str) -> None:
        """Fail if the flag was asked for."""
        if times := self.count(key):
            raise AssertionError(f"{key!r} was asked for {times} times")


class _Block:
    """The flags of one block, and the block around it."""

    def __init__(self, values: Mapping[str, Any], strict: bool, outer: _Block | None) -> None:
        self.values = values
        self.strict = strict
        self.outer = outer
        self.asked = Asked()


_here: ContextVar[_Block | None] = ContextVar("tidegate-testing", default=None)
_everywhere: list[_Block] = []
_NOT_SET = object()


def _plain(key: str) -> str:
    return key.replace("-", "_").replace(".", "_")


def _inner() -> _Block | None:
    """The block that holds here and now, the innermost one."""
    return _here.get() or (_everywhere[-1] if _everywhere else None)


def _chain() -> list[_Block]:
    blocks, block = [], _inner()
    while block is not None:
        blocks.append(block)
        block = block.outer
    return blocks


def _set_value(key: str, blocks: list[_Block]) -> Any:
    for block in blocks:
        if _plain(key) in block.values:
            return block.values[_plain(key)]
    if any(block.strict for block in blocks):
        raise UnknownFlag(
            f"the application asked for the flag {key!r}, which the test does not set: "
            f"flags({_plain(key)}=...)"
        )
    return _NOT_SET


def _note(key: str, value: object, context: Context | None, blocks: list[_Block]) -> None:
    if context is None:
        operation = current.get()
        context = NOBODY if operation is None else operation.resolve_context()
    for block in blocks:
        block.asked.note(key, value, context.targeting_key)


_boolean = Client.boolean
_details = Client._details
_evaluate_boolean = Client._evaluate_boolean


def _boolean_in_tests(
    self: Client, key: str, default: bool, context: Context | None = None
) -> bool:
    if not _chain():
        return _boolean(self, key, default, context)
    found: bool = self.boolean_details(key, default, context).value
    return found


def _details_in_tests(
    self: Client,
    type_: FlagType,
    key: str,
    default: Any,
    context: Context | None,
    convert: Callable[[Any], Any],
) -> EvaluationDetails[Any]:
    blocks = _chain()
    value = _set_value(key, blocks) if blocks else _NOT_SET
    if value is _NOT_SET:
        details = _details(self, type_, key, default, context, convert)
    elif not has_type(value, type_):
        raise WrongType(f"the application asked for {key!r} as a {type_}; the test sets {value!r}")
    else:
        details = EvaluationDetails(key, convert(value), None, "STATIC", None, None, {})
    if blocks:
        _note(key, details.value, context, blocks)
    return details


def _evaluate_boolean_in_tests(self: Client, key: str, context: Context) -> Evaluation | None:
    return None if _chain() else _evaluate_boolean(self, key, context)


Client.boolean = _boolean_in_tests  # type: ignore[method-assign]
Client._evaluate_boolean = _evaluate_boolean_in_tests  # type: ignore[method-assign]
Client._details = _details_in_tests  # type: ignore[method-assign]
