"""An operation: one unit of work, and what it was exposed to."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from contextvars import Token
from math import isfinite
from time import perf_counter
from types import CodeType, CoroutineType, FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Final

from tidegate.context import NOBODY, Context, context_problem, usable_context
from tidegate.current_operation import (
    ENTER_CONTEXT,
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

MAX_LATE = 1_000
"""How many exposures after its end one operation counts; more are dropped."""

MAX_WARNINGS = 100

NO_USERS: Final[dict[str | None, dict[str, Exposure]]] = {}

_current_entry = current.get
_set_current = current.set
_reset_current = current.reset
_frame = sys._getframe
_usual_caller: CodeType | None = None


class Extras:
    """What few operations have.

    Attributes:
        users: the exposures of every user by targeting key, the context's included; empty while
            there is no other user.
        measured: the values, by name.
        failed: whether ``fail`` was called.
        resolve: returns the context, until it is resolved.
        outer: the entry that was the current one before.
        held: what is the current entry instead of the operation.
        late: the users and releases that were exposed after the end.
    """

    __slots__ = ("failed", "held", "late", "measured", "outer", "resolve", "users")

    def __init__(self, resolve: Callable[[], Context | str | None] | None = None) -> None:
        self.users: dict[str | None, dict[str, Exposure]] = {}
        self.measured: dict[str, float] = {}
        self.failed: bool = False
        self.resolve: Callable[[], Context | str | None] | None = resolve
        self.outer: Entry = None
        self.held: Held | None = None
        self.late: set[tuple[str | None, str]] = set()


class Operation:
    """One unit of work: a request, a job. Made by ``Client.operation``.

    As a context manager it ends with its block; what leaves the block decides its outcome (see
    ``tidegate.endings``). Work without a block calls ``begin`` and ``end`` itself.

    An operation that evaluates flags for several users counts for each of them. An evaluation
    after the end, in a task that the operation started, uses the same context and counts as an
    exposure without an outcome.

    Threads: several may evaluate flags in one operation, and another one may end it. Python lets
    other threads and signal handlers run at calls and in loops, but not between a check and the
    statement after it. So whatever is checked to be open, or missing, still is when it is used.

    Attributes:
        reporter: counts what the operation was exposed to.
        context: of the user; None: it is not resolved yet, or there is none.
        noted: the exposure of the context's user that was noted last; without ``several``, the only
            one. Nothing is noted after the end.
        hashed: the hash that decided the only exposure; None if there are several, or it is not
            known.
        several: the exposures of the context's user by release, of operations with more than one.
        ended: whether the outcome is known.
        extras: None for most operations.
    """

    __slots__ = (
        "_began", "_token", "context", "ended", "extras", "hashed", "noted", "reporter",
        "several",
    )  # fmt: skip

    reporter: Reporter
    context: Context | None
    noted: Exposure | None
    hashed: int | None
    several: dict[str, Exposure] | None
    ended: bool
    extras: Extras | None
    _token: Token[Entry] | None
    _began: float

    @property
    def exposures(self) -> dict[str, Exposure]:
        """The exposures of the context's user by release, for ``setdefault``."""
        several = self.several
        if several is None:
            only = self.noted
            several = self.several = {} if only is None else {only.release: only}
            self.hashed = None
        return several

    @property
    def users(self) -> dict[str | None, dict[str, Exposure]]:
        """The exposures of every user by targeting key; empty while there is only one."""
        return NO_USERS if self.extras is None else self.extras.users

    @property
    def outer(self) -> Entry:
        """The operation, or held one, in which this one began."""
        return None if self.extras is None else self.extras.outer

    def begin(self) -> Operation:
        """Make this the current operation and start its clock; a second call does nothing."""
        return self._begin(_frame(1))

    def _begin(self, caller: FrameType) -> Operation:
        if self.ended:
            self._note_use_after_end()
            return self
        if hasattr(self, "_began"):
            return self  # as in ``with client.operation(user).begin():``
        outer = nearest_open(_current_entry())
        if isinstance(outer, Operation):
            outer._token = None  # its block may end before this operation does
        generator = generator_of(caller)
        in_generator = generator is not None or isinstance(outer, Held)
        held = Held(self, generator, outer) if in_generator else None
        if outer is not None or held is not None:
            extras = self._make_extras()
            extras.outer, extras.held = outer, held
        self._token = None
        _set_current(held or self)
        self._began = perf_counter()
        return self

    def _note_use_after_end(self) -> None:
        """Count a block that has no outcome, because an earlier one had it."""
        warn_once(
            "an operation is used again after its end, which counts nothing: "
            "call client.operation(...) for each unit of work"
        )
        self.reporter.count_dropped()

    def _make_extras(self) -> Extras:
        made = Extras()
        if self.extras is None:
            self.extras = made
        return self.extras

    def fail(self) -> None:
        """Mark this operation as failed, however its block ends."""
        self._make_extras().failed = True

    def measure(self, name: str, value: float) -> None:
        """Report a value of this operation, for the checks of releases that ask for it.

        The value counts when the operation ends, whether its flags are evaluated before or
        after this call. Of several values with one name the last one counts. Never raises: a
        value that is not a finite number is ignored, and counted as dropped in the client's
        status. After the end values are ignored.
        """
        if self.ended:
            return
        number = _finite_number(value)
        if not isinstance(name, str):
            kind = type(name).__name__
            warn_once(f"a value is ignored: its name is of the type {kind}; give a str")
        elif number is None:
            warn_once(f"a value of {name!r} is ignored: it is not a finite number")
        else:
            measured = self._make_extras().measured
            if name in measured or len(measured) < MAX_VALUES:
                measured[name] = number
                return
        self.reporter.count_dropped()

    def end(self) -> None:
        """End the operation: ok, or an error after ``fail``. A second end does nothing."""
        self._finish("error" if self._has_failed() else "ok")

    def cancel(self) -> None:
        """End the operation without an outcome: only its exposures count."""
        self._finish(None)

    def interrupt(self) -> None:
        """End the operation from outside: without an outcome, unless it has failed already."""
        self._finish("error" if self._has_failed() else None)

    def _has_failed(self) -> bool:
        return self.extras is not None and self.extras.failed

    def end_with(self, error: BaseException) -> None:
        """End the operation as its block does when this exception leaves it."""
        if is_error(error):
            self.fail()
        self.interrupt()

    def resolve_context(self) -> Context:
        """Return the context of this operation, resolved at the first call."""
        if self.context is None:
            extras = self._make_extras()
            resolve, extras.resolve = extras.resolve, None
            self.context = NOBODY if resolve is None else self._resolved(resolve)
            key, known = _key(self.context), self.reporter.seen_users.known
            if known is not None and key not in known:
                self.reporter.seen_users.look_at(self.context)
            if extras.users:
                self.several = extras.users.setdefault(key, self.exposures)
        return self.context

    def note(self, exposure: Exposure, context: Context) -> bool:
        """Remember an exposure; return False if ``expose`` must, after the end or for others."""
        own = self.context
        if context is not own and (own is None or not _same_user(own, context)):
            return False
        if self.ended:
            return False
        if self.noted is None and self.several is None:
            self.hashed = None
            self.noted = exposure
            return True
        known = self.exposures
        if self.ended:
            return False
        known.setdefault(exposure.release, exposure)
        self.noted = exposure
        return True

    def expose(self, exposures: tuple[Exposure, ...], context: Context) -> None:
        """Remember exposures of a context's user; for each release the user's first arm counts."""
        known = None if self.ended else self._exposures_of(context)
        for exposure in exposures:
            release = exposure.release
            if self.ended:
                self._expose_late(exposure, context)
            elif known is not None:
                known.setdefault(release, exposure)
        if known is None and not self.ended:
            self.reporter.count_dropped()

    def _exposures_of(self, context: Context) -> dict[str, Exposure] | None:
        """Return the exposures of a context's user; None: there are too many users."""
        if context is self.context:
            return self.exposures
        own, key, users = self.context, _key(context), self._make_extras().users
        if own is not None:
            users.setdefault(_key(own), self.exposures)
        known = users.get(key)
        if known is None and len(users) <= MAX_USERS:
            known = users.setdefault(key, {})
        return known

    def _expose_late(self, exposure: Exposure, context: Context) -> None:
        """Count an exposure after the end, once for each user and release."""
        key, release, late = _key(context), exposure.release, self._make_extras().late
        known = self.exposures if key == _key(self.context) else self.users.get(key, ())
        if release in known or (key, release) in late:
            return
        if len(late) >= MAX_LATE:
            self.reporter.count_dropped()
            return
        late.add((key, release))
        self.reporter.expose(exposure)

    def _resolved(self, resolve: Callable[[], Context | str | None]) -> Context:
        try:
            context: object = resolve()
        except Exception as error:
            warn_once(
                f"the context callback raised {type(error).__name__} at {_place_of(error)}: "
                "evaluating without a context"
            )
            self.reporter.count_invalid_context()
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
        extras = self.extras
        outer = None if extras is None else extras.outer
        held = None if extras is None else extras.held
        if _current_entry() is (held or self):
            # Even after its end: another thread may have ended it, or its block began later.
            _set_current(outer if outer is None else nearest_open(outer))
        if self.ended:
            return
        self.ended = True
        self._token = None
        if held is not None and extras is not None:
            held.frame = None
            # So an ended operation is freed at once, not by the garbage collector.
            extras.held = None
        if extras is not None and extras.users:
            self._count_users(extras.users, outcome)
        elif self.exposures and self.context is not None:
            self._count(self.context.targeting_key, self.exposures, outcome)

    def _count_users(
        self, users: dict[str | None, dict[str, Exposure]], outcome: str | None
    ) -> None:
        own = _key(self.context)
        for key, exposures in list(users.items()):
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
        microseconds = int((perf_counter() - self._began) * 1e6)
        measured = None if self.extras is None else self.extras.measured
        # A copy: a task that this operation started may evaluate a flag at the same time.
        self.reporter.add(tuple(exposures.values()), outcome, microseconds, key, measured=measured)

    def __enter__(self) -> Operation:
        global _usual_caller
        code = _frame(1).f_code
        # Most blocks are entered by one function, of a framework: to know it takes half the time.
        if code is not _usual_caller:
            if code.co_flags & GENERATORS or code is ENTER_CONTEXT:
                return self._begin(_frame(1))
            _usual_caller = code
        if _current_entry() is not None:
            return self._begin(_frame(1))
        # The same as ``_begin`` where there is no operation yet and no generator: most often.
        self._token = _set_current(self)
        self._began = perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        token = self._token
        if error is not None:
            self.end_with(error)
        elif token is None:
            self.end()
        elif self.ended:  # before this block began
            self._token = None
            if _current_entry() is self:
                _set_current(None)
            self._note_use_after_end()
        elif self.extras is not None:
            self.end()
        else:
            # The same as ``end`` where the operation began as above, and nothing is unusual.
            self.ended = True
            self._token = None  # it refers to all of the thread's context
            try:
                _reset_current(token)
            except ValueError:  # the block ends in another context than it began in
                if _current_entry() is self:
                    _set_current(None)
            noted = self.noted
            if noted is None:
                if self.several:
                    self._count(_key(self.context), self.several, "ok")
                return
            seconds, hashed, reporter = perf_counter() - self._began, self.hashed, self.reporter
            if hashed is not None:
                try:
                    waiting = reporter.plain[noted.cell]
                    waiting.append((hashed, seconds))  # without a call in between: see ``plain``
                except KeyError:  # it is the first one
                    pass
                else:
                    if len(waiting) >= reporter.batch:
                        reporter.collect(noted.cell)
                    return
            self._count(_key(self.context), self.exposures, "ok")


def new_operation(
    reporter: Reporter,
    context: Context | None = None,
    resolve: Callable[[], Context | str | None] | None = None,
) -> Operation:
    """Return an operation that has not begun.

    Args:
        reporter: counts what the operation is exposed to.
        context: of the evaluations within it that name none.
        resolve: returns the context at the first of them, if there is none yet.
    """
    # Not in ``__init__``: Python takes as long to call that as for all of this.
    operation = Operation()
    operation.reporter = reporter
    operation.context = context
    operation.noted = operation.several = None
    operation.ended = False
    operation.extras = None if resolve is None else Extras(resolve)
    return operation


def _key(context: Context | None) -> str | None:
    """Return the targeting key; None without one, whatever the application gave as a context."""
    key = getattr(context, "targeting_key", None)
    return key if isinstance(key, str) else None


def _same_user(one: Context, other: Context) -> bool:
    """Return whether two contexts have the same targeting key, as those of OpenFeature often do."""
    key = _key(one)
    return key is not None and key == _key(other)


def _place_of(error: Exception) -> str:
    """Return the file and the line that raised an error; not its text, which may be personal."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    if place is None:
        return "an unknown place"
    return f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}"


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
