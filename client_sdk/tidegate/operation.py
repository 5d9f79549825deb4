"""An operation: one unit of work, and what it was exposed to.

The current operation lives in a context variable: one for each thread, task or greenlet.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import ContextVar
from math import isfinite
from time import perf_counter_ns
from types import CoroutineType, TracebackType
from typing import TYPE_CHECKING, Any

from tidegate.context import NOBODY, Context

if TYPE_CHECKING:
    from tidegate.evaluation.results import Exposure
    from tidegate.reporting import Reporter

log: logging.Logger = logging.getLogger("tidegate")

current: ContextVar[Operation | None] = ContextVar("tidegate-operation", default=None)
"""The operation in which evaluations happen now."""

MOST_VALUES = 50
"""How many values of different names one operation keeps."""

MOST_WARNINGS = 100


class Operation:
    """One unit of work: a request, a job. Made by ``Client.operation``.

    As a context manager it ends with its block; an exception that leaves the block is an
    error. Work without a block calls ``begin`` and ``end`` itself.

    An evaluation after the end, in a task that the operation started, uses the same context and
    counts as an exposure without an outcome.
    """

    __slots__ = (
        "_began", "_ended", "_failed", "_measured", "_outer", "_resolve", "context", "exposures",
        "other_keys", "reporter",
    )  # fmt: skip

    def __init__(
        self,
        reporter: Reporter,
        context: Context | None = None,
        resolve: Callable[[], Context] | None = None,
    ) -> None:
        self.reporter: Reporter | None = reporter
        self.context = context
        self.exposures: dict[str, Exposure] = {}
        self.other_keys: dict[str, str | None] | None = None
        self._resolve = resolve
        self._failed = False
        self._measured: dict[str, float] | None = None
        self._ended = False
        self._began = 0
        self._outer: Operation | None = None

    def begin(self) -> Operation:
        """Make this the current operation and start its clock."""
        self._outer = _nearest_open(current.get())
        current.set(self)
        self._began = perf_counter_ns()
        return self

    def fail(self) -> None:
        """Mark this operation as failed, however its block ends."""
        self._failed = True

    def measure(self, name: str, value: float) -> None:
        """Report a value of this operation, for the checks of releases that ask for it.

        The value counts when the operation ends, whether its flags are evaluated before or
        after this call. Of several values with one name the last one counts. Never raises: a
        value that is not a finite number is ignored, and counted as dropped in the client's
        status. After the end values are ignored.
        """
        reporter, measured = self.reporter, self._measured
        if reporter is None:
            return
        if measured is None:
            measured = self._measured = {}
        number = _finite_number(value)
        if number is None or not isinstance(name, str):
            _warn_once(f"a value of {name!r} is ignored: it is not a finite number")
        elif name in measured or len(measured) < MOST_VALUES:
            measured[name] = number
            return
        reporter.count_dropped()

    def end(self) -> None:
        """End the operation: ok, or an error after ``fail``. A second end does nothing."""
        self._finish("error" if self._failed else "ok")

    def cancel(self) -> None:
        """End the operation without an outcome: only its exposures count."""
        self._finish(None)

    def end_with(self, error: BaseException) -> None:
        """End the operation as its block does when this exception leaves it."""
        if isinstance(error, Exception):
            self.fail()
            self.end()
        else:
            # An exit, an interrupt, a closed generator, a cancelled task: not a failure.
            self.cancel()

    def resolve_context(self) -> Context:
        """Return the context of this operation, resolved at the first call."""
        if self.context is None:
            resolve, self._resolve = self._resolve, None
            self.context = NOBODY if resolve is None else _resolve(resolve)
        return self.context

    def expose(self, exposures: tuple[Exposure, ...], context: Context) -> None:
        """Remember exposures; for each release the first arm counts."""
        for exposure in exposures:
            release = exposure.release
            if release not in self.exposures:
                self.exposures[release] = exposure
                if context is not self.context:
                    self.other_keys = self.other_keys or {}
                    self.other_keys[release] = context.targeting_key

    def _finish(self, outcome: str | None) -> None:
        if self._ended:
            return
        self._ended = True
        if current.get() is self:
            current.set(_nearest_open(self._outer))
        reporter, self.reporter = self.reporter, None
        if self.exposures and reporter is not None:
            microseconds = (perf_counter_ns() - self._began) // 1000
            key = getattr(self.context, "targeting_key", None)
            # A copy: a task that this operation started may evaluate a flag at the same time.
            reporter.add(
                dict(self.exposures), outcome, microseconds, key, self.other_keys,
                measured=self._measured,
            )  # fmt: skip

    def __enter__(self) -> Operation:
        return self.begin()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.end()
        else:
            self.end_with(error)


def _nearest_open(operation: Operation | None) -> Operation | None:
    """Return the operation, or the nearest one around it that has not ended."""
    while operation is not None and operation._ended:
        operation = operation._outer
    return operation


def _resolve(resolve: Callable[[], Context]) -> Context:
    try:
        context: object = resolve()
    except Exception as error:
        name = type(error).__name__
        _warn_once(f"the context callback raised {name}: evaluating without a context")
        return NOBODY
    if isinstance(context, Context):
        return context
    if context is not None:
        if isinstance(context, CoroutineType):
            context.close()  # else Python warns about it at each request
        kind = type(context).__name__
        _warn_once(
            f"the context callback returned {kind} instead of Context: evaluating without a context"
        )
    return NOBODY


def _finite_number(value: Any) -> float | None:
    try:
        number = float(value)
    except Exception:
        return None
    return number if isfinite(number) else None


_warnings: set[str] = set()


def _warn_once(message: str) -> None:
    """Log each warning once, however often it happens."""
    if message not in _warnings and len(_warnings) < MOST_WARNINGS:
        _warnings.add(message)
        log.warning("%s", message)
