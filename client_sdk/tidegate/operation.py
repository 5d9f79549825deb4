"""An operation: one unit of work, and what it was exposed to."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from math import isfinite
from time import perf_counter_ns
from types import CoroutineType, FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from tidegate.context import NOBODY, Context, context_problem, usable_context
from tidegate.current_operation import (
    CONTEXTLIB,
    GENERATORS,
    Entry,
    Held,
    current,
    generator_of,
    nearest_open,
)
from tidegate.endings import is_error

if TYPE_CHECKING:
    from tidegate.evaluation.results import Exposure
    from tidegate.reporting import Reporter

log: logging.Logger = logging.getLogger("tidegate")

MAX_USERS = 1_000
"""How many users other than its own one operation counts; of more, the exposures are dropped."""

MAX_VALUES = 50
"""How many values of different names one operation keeps."""

MAX_WARNINGS = 100

_current_entry = current.get
_set_current = current.set
_frame = sys._getframe


class Operation:
    """One unit of work: a request, a job. Made by ``Client.operation``.

    As a context manager it ends with its block; what leaves the block decides its outcome (see
    ``tidegate.endings``). Work without a block calls ``begin`` and ``end`` itself.

    An operation that evaluates flags for several users counts for each of them. An evaluation
    after the end, in a task that the operation started, uses the same context and counts as an
    exposure without an outcome.

    Attributes:
        exposures: those of the context's user, by release.
        users: the exposures of every user by targeting key, the context's included; empty while
            there is no other user.
    """

    __slots__ = (
        "_began", "_failed", "_held", "_measured", "_resolve", "context", "ended", "exposures",
        "outer", "reporter", "users",
    )  # fmt: skip

    def __init__(
        self,
        reporter: Reporter,
        context: Context | None = None,
        resolve: Callable[[], Context | str | None] | None = None,
    ) -> None:
        self.reporter: Reporter = reporter
        self.context: Context | None = context
        self.exposures: dict[str, Exposure] = {}
        self.users: dict[str | None, dict[str, Exposure]] = {}
        self.ended: bool = False
        self.outer: Entry = None
        self._resolve = resolve
        self._failed = False
        self._measured: dict[str, float] = {}
        self._began = 0
        self._held: Held | None = None

    def begin(self) -> Operation:
        """Make this the current operation and start its clock."""
        return self._begin(_frame(1))

    def _begin(self, caller: FrameType) -> Operation:
        outer = self.outer = nearest_open(_current_entry())
        generator = generator_of(caller)
        if generator is not None or isinstance(outer, Held):
            self._held = Held(self, generator, outer)
        _set_current(self._held or self)
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
        if self.ended:
            return
        measured = self._measured
        number = _finite_number(value)
        if number is None or not isinstance(name, str):
            warn_once(f"a value of {name!r} is ignored: it is not a finite number")
        elif name in measured or len(measured) < MAX_VALUES:
            measured[name] = number
            return
        self.reporter.count_dropped()

    def end(self) -> None:
        """End the operation: ok, or an error after ``fail``. A second end does nothing."""
        self._finish("error" if self._failed else "ok")

    def cancel(self) -> None:
        """End the operation without an outcome: only its exposures count."""
        self._finish(None)

    def interrupt(self) -> None:
        """End the operation from outside: without an outcome, unless it has failed already."""
        self._finish("error" if self._failed else None)

    def end_with(self, error: BaseException) -> None:
        """End the operation as its block does when this exception leaves it."""
        if is_error(error):
            self.fail()
        self.interrupt()

    def resolve_context(self) -> Context:
        """Return the context of this operation, resolved at the first call."""
        if self.context is None:
            resolve, self._resolve = self._resolve, None
            self.context = NOBODY if resolve is None else self._resolved(resolve)
            if self.users:
                self.exposures = self.users.setdefault(_key(self.context), self.exposures)
        return self.context

    def expose(self, exposures: tuple[Exposure, ...], context: Context) -> None:
        """Remember exposures of a context's user; for each release the user's first arm counts."""
        known = self._exposures_of(context)
        if known is None:
            self.reporter.count_dropped()
            return
        for exposure in exposures:
            if exposure.release not in known:
                known[exposure.release] = exposure
                if self.ended:
                    self.reporter.expose(exposure)

    def _exposures_of(self, context: Context) -> dict[str, Exposure] | None:
        """Return the exposures of a context's user; None: there are too many users."""
        users, own, key = self.users, self.context, _key(context)
        if own is not None:
            users.setdefault(_key(own), self.exposures)
        known = users.get(key)
        if known is None and len(users) <= MAX_USERS:
            known = users.setdefault(key, {})
        return known

    def _resolved(self, resolve: Callable[[], Context | str | None]) -> Context:
        try:
            context: object = resolve()
        except Exception as error:
            name = type(error).__name__
            warn_once(f"the context callback raised {name}: evaluating without a context")
            return NOBODY
        if isinstance(context, CoroutineType):
            context.close()  # else Python warns about it at each request
        if context_problem(context):
            kind = f"{type(context).__name__} instead of Context or str"
            if isinstance(context, Context):
                kind = f"a context whose targeting key is {type(context.targeting_key).__name__}"
            warn_once(f"the context callback returned {kind}: evaluating without a context")
            self.reporter.count_invalid_context()
        return usable_context(context)

    def _finish(self, outcome: str | None) -> None:
        if self.ended:
            return
        self.ended = True
        held = self._held
        if _current_entry() is (held or self):
            outer = self.outer
            _set_current(outer if outer is None else nearest_open(outer))
        if held is not None:
            held.frame = None
            # So an ended operation is freed at once, not by the garbage collector.
            self._held = None
        context = self.context
        if self.users:
            self._count_users(outcome)
        elif self.exposures and context is not None:
            self._count(context.targeting_key, self.exposures, outcome)

    def _count_users(self, outcome: str | None) -> None:
        own = _key(self.context)
        for key, exposures in list(self.users.items()):
            if exposures is not self.exposures and key == own:
                # Two threads used the user for the first time at the same moment.
                for release, exposure in list(exposures.items()):
                    self.exposures.setdefault(release, exposure)
            elif exposures is not self.exposures and exposures:
                self._count(key, exposures, outcome)
        if self.exposures:
            self._count(own, self.exposures, outcome)

    def _count(self, key: str | None, exposures: dict[str, Exposure], outcome: str | None) -> None:
        """Let the reporter count one user's exposures."""
        reporter = self.reporter
        # A copy: a task that this operation started may evaluate a flag at the same time.
        counted = tuple(exposures.values())
        if outcome is None:
            reporter.add(counted, None, None, None)
            return
        microseconds = (perf_counter_ns() - self._began) // 1000
        # The same as ``reporter.add``, without a call.
        waiting = reporter.ended
        waiting.append((counted, outcome, microseconds, key, self._measured, True))
        if len(waiting) >= reporter.batch:
            reporter.collect()

    def __enter__(self) -> Operation:
        caller = _frame(1)
        if (
            _current_entry() is not None
            or caller.f_code.co_flags & GENERATORS
            or caller.f_globals is CONTEXTLIB
        ):
            return self._begin(caller)
        # The same as ``_begin`` where there is no operation yet and no generator: most often.
        _set_current(self)
        self._began = perf_counter_ns()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self._finish("error" if self._failed else "ok")
        else:
            self.end_with(error)


def _key(context: Context | None) -> str | None:
    """Return the targeting key; None without one, whatever the application gave as a context."""
    key = getattr(context, "targeting_key", None)
    return key if isinstance(key, str) else None


def _finite_number(value: Any) -> float | None:
    try:
        number = float(value)
    except Exception:
        return None
    return number if isfinite(number) else None


_warnings: set[str] = set()


def warn_once(message: str) -> None:
    """Log each warning once, however often it happens."""
    if message not in _warnings and len(_warnings) < MAX_WARNINGS:
        _warnings.add(message)
        log.warning("%s", message)
