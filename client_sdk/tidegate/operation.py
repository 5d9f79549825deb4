"""A unit of work, and what it was exposed to.

The current operation lives in a context variable: one per thread, task or greenlet.
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


class Operation:
    """One unit of work: a request, a job. Made by ``Client.operation``.

    As a context manager it ends with its block: an exception that leaves the block is an
    error. Work that has no block calls ``begin`` and ``end`` itself.

    What is asked in it after its end, by a task that it began, is for the same context and
    counts alone.
    """

    __slots__ = (
        "_began", "_ended", "_failed", "_measured", "_outer", "_resolve", "context", "exposures",
        "others", "reporter",
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
        self.others: dict[str, str | None] | None = None
        self._resolve = resolve
        self._failed = False
        self._measured: dict[str, float] | None = None
        self._ended = False
        self._began = 0
        self._outer: Operation | None = None

    def begin(self) -> Operation:
        """Make this the current operation and start its clock."""
        self._outer = _going_on(current.get())
        current.set(self)
        self._began = perf_counter_ns()
        return self

    def fail(self) -> None:
        """Say that this unit of work failed, however its block ends."""
        self._failed = True

    def measure(self, name: str, value: float) -> None:
        """Report a value of this unit of work, for the checks of releases that ask for it.

        It counts once the work has ended, whether the flag was asked for before or after. Of
        several values under one name the last one counts. Never raises: what is no finite
        number is ignored, and counted in the client's status. After the end nothing counts.
        """
        reporter, measured = self.reporter, self._measured
        if reporter is None:
            return
        if measured is None:
            measured = self._measured = {}
        number = _finite(value)
        if number is None or not isinstance(name, str):
            _complain(f"a value of {name!r} that is no finite number is ignored")
        elif name in measured or len(measured) < MOST_VALUES:
            measured[name] = number
            return
        reporter.drop()

    def end(self) -> None:
        """End the unit of work: ok, or an error after ``fail``. A second end does nothing."""
        self._finish("error" if self._failed else "ok")

    def cancel(self) -> None:
        """End the unit of work as neither ok nor failed: it was exposed, and that is all."""
        self._finish(None)

    def left_by(self, error: BaseException) -> None:
        """End the unit of work as a block of it does that this exception leaves."""
        if isinstance(error, Exception):
            self.fail()
            self.end()
        else:
            # An exit, an interrupt, a generator closed, a task cancelled: nobody's failure.
            self.cancel()

    def who(self) -> Context:
        """Return the context of this unit of work, asking for it the first time."""
        if self.context is None:
            resolve, self._resolve = self._resolve, None
            self.context = NOBODY if resolve is None else _ask(resolve)
        return self.context

    def expose(self, exposures: tuple[Exposure, ...], context: Context) -> None:
        """Remember what an evaluation gave; of a release's arms the first one counts."""
        for exposure in exposures:
            release = exposure.release
            if release not in self.exposures:
                self.exposures[release] = exposure
                if context is not self.context:
                    self.others = self.others or {}
                    self.others[release] = context.targeting_key

    def _finish(self, outcome: str | None) -> None:
        if self._ended:
            return
        self._ended = True
        if current.get() is self:
            current.set(_going_on(self._outer))
        reporter, self.reporter = self.reporter, None
        if self.exposures and reporter is not None:
            microseconds = (perf_counter_ns() - self._began) // 1000
            key = getattr(self.context, "targeting_key", None)
            # A copy: a task that this one began may ask for a flag just now.
            reporter.add(
                dict(self.exposures), outcome, microseconds, key, self.others,
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
            self.left_by(error)


def _going_on(operation: Operation | None) -> Operation | None:
    """Return the operation, or the nearest around it that has not ended."""
    while operation is not None and operation._ended:
        operation = operation._outer
    return operation


def _ask(resolve: Callable[[], Context]) -> Context:
    try:
        found: object = resolve()
    except Exception as error:
        name = type(error).__name__
        _complain(f"the context callback raised {name}: evaluating without a context")
        return NOBODY
    if isinstance(found, Context):
        return found
    if found is not None:
        if isinstance(found, CoroutineType):
            found.close()  # or Python warns of it at each request
        kind = type(found).__name__
        _complain(f"the context callback returned a {kind}, no Context: evaluating without one")
    return NOBODY


def _finite(value: Any) -> float | None:
    try:
        number = float(value)
    except Exception:
        return None
    return number if isfinite(number) else None


_complaints: set[str] = set()


def _complain(what: str) -> None:
    """Say each thing once, however often it happens."""
    if what not in _complaints and len(_complaints) < 100:
        _complaints.add(what)
        log.warning("%s", what)
