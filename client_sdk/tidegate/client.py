"""The client: what an application calls, and nothing else.

An evaluation takes no lock and allocates nothing: it looks up the flag's closure, calls
it, and notes the exposure in the current operation. Fresh flags replace the look-up
tables as a whole.

The modules that do the work are imported when the first client is made: an application that
only has the SDK at hand starts as quickly as without.
"""

from __future__ import annotations

import copy
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import mmh3

from tidegate.context import NOBODY, Context
from tidegate.details import ClientEvent, ClientStatus, EvaluationDetails
from tidegate.errors import TypeMismatch, WireError
from tidegate.operation import Operation, current
from tidegate.runtime import process_hooks, uwsgi
from tidegate.runtime.late_imports import load

if TYPE_CHECKING:
    from tidegate.evaluation.results import Evaluation
    from tidegate.evaluation.rule_set import BooleanFlag, CompiledSnapshot
    from tidegate.model import FlagType
    from tidegate.persistence import SnapshotFile
    from tidegate.reporting import Reporter
    from tidegate.sync import Link

log: logging.Logger = logging.getLogger("tidegate")
log.addHandler(logging.NullHandler())

T = TypeVar("T")
Read = Callable[[Any], Any]
Listener = Callable[[ClientEvent], None]
Observer = Callable[[EvaluationDetails[Any], Context], None]

_operation = current.get  # bound once: every evaluation asks
_hash = mmh3.hash


class Client:
    """Evaluates flags in this process and keeps them fresh in the background.

    The constructor neither waits for the server nor raises when it is away: until flags
    have come, evaluations give the caller's defaults. A client made before a fork works in
    the children too, each an instance of its own. One client serves all threads.

    Args:
        url: the flag server's address; ``TIDEGATE_URL`` when not given.
        token: an SDK token; ``TIDEGATE_TOKEN`` when not given.
        cache_path: a file in which the last known flags are kept for a start without the
            server; processes may share it.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        cache_path: str | os.PathLike[str] | None = None,
    ) -> None:
        self._compiled: CompiledSnapshot | None = None
        self._booleans: dict[str, BooleanFlag] = {}
        self._reporter: Reporter = load("tidegate.reporting").Reporter()
        self._link: Link | None = None
        self._postponed: threading.Lock | None = None
        self._closed = False
        self._url = url or os.environ.get("TIDEGATE_URL", "")
        self._token = token or os.environ.get("TIDEGATE_TOKEN", "")
        self._file: SnapshotFile | None = None
        self._listeners: tuple[Listener, ...] = ()
        self._observers: tuple[Observer, ...] = ()
        if self._url and self._token:
            if cache_path is not None:
                keeper = load("tidegate.persistence").SnapshotFile
                self._file = keeper(cache_path, self._url, self._token)
            process_hooks.join(self)
            if uwsgi.workers_are_to_come():
                self._postponed = threading.Lock()
                # Shared with the workers, which are ready sooner for it.
                load("tidegate.sync")
                load("tidegate.transport")
                uwsgi.call_in_workers(
                    process_hooks.unless_gone(weakref.WeakMethod(self._begin_late))
                )
            else:
                self._begin()
        else:
            missing = "TIDEGATE_URL" if not self._url else "TIDEGATE_TOKEN"
            log.warning("no flags: give a url and a token, or set %s", missing)

    @classmethod
    def offline(cls, snapshot: Mapping[str, Any]) -> Client:
        """Return a client of a snapshot document, with no network and no threads.

        Raises:
            WireError: not a snapshot.
        """
        client = cls.__new__(cls)
        client._compiled = None
        client._reporter = load("tidegate.reporting").Reporter()
        client._link = None
        client._postponed = None
        client._closed = False
        client._url = client._token = ""
        client._file = None
        client._listeners = ()
        client._observers = ()
        client._apply(_compiled(snapshot))
        return client

    def wait_until_ready(self, timeout: float = 5.0) -> bool:
        """Wait up to ``timeout`` seconds for the first flags; return whether they are here.

        Where only the workers to come will ask for them (``postponed``), it does not wait.
        """
        self._begin_if_forked()
        if self._compiled is not None:
            return True
        return self._link is not None and self._link.ready.wait(timeout)

    def flush(self) -> None:
        """Send what has not been reported, for a process that may end without a further word.

        Waits two seconds at most. The client goes on all the same; the server takes the report
        for the last one until there is another.
        """
        if self._link is not None:
            self._link.part()

    def close(self) -> None:
        """Send what has not been reported and stop; evaluations go on with the last flags."""
        self._closed = True
        process_hooks.leave(self)
        if self._link is not None:
            self._link.stop()

    def status(self) -> ClientStatus:
        """Return how this client stands."""
        link, compiled = self._link, self._compiled
        if self._closed:
            state = "closed"
        elif link is None:
            state = "starting" if compiled is None else "offline"
            if self._postponed is not None:
                state = "postponed"
        elif compiled is None:
            state = "starting"
        else:
            state = "connected" if link.connected else "stale"
        return ClientStatus(
            state=state,
            version=None if compiled is None else compiled.version,
            age=None if link is None or link.fresh_at is None else time.monotonic() - link.fresh_at,
            instance=None if link is None else self._reporter.instance,
            dropped=self._reporter.dropped,
            closed_here=frozenset() if link is None else link.closed,
        )

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` with every change of this client's state, from its own thread.

        Who comes late is told at once, from this thread, of a trouble that there is. What a
        listener raises is logged and otherwise ignored. The client's thread leaves signals to
        others, and a process that a listener starts inherits that: hand such work to a thread
        of yours.

        Returns:
            A function that ends the listening.
        """
        self._listeners = (*self._listeners, listener)
        if self._link is not None and self._link.trouble is not None:
            _call(listener, self._link.trouble)

        def forget() -> None:
            self._listeners = tuple(each for each in self._listeners if each is not listener)

        return forget

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Call ``observer`` with every evaluation's details and context, where it happens.

        Evaluations take a longer way meanwhile; without observers they cost nothing more.
        What an observer raises is logged for debugging and otherwise ignored.

        Returns:
            A function that ends the observing.
        """
        self._observers = (*self._observers, observer)
        self._choose_way()

        def forget() -> None:
            self._observers = tuple(each for each in self._observers if each is not observer)
            self._choose_way()

        return forget

    # Units of work

    def operation(self, context: Context | None = None) -> Operation:
        """Return a unit of work, to be used as a context manager.

        Its outcome and duration count for every release that evaluations within it were
        exposed to. ``context`` is whom evaluations without a context are for.
        """
        return Operation(self._reporter, context)

    def operation_of(self, resolve: Callable[[], Context]) -> Operation:
        """Return a unit of work whose context is asked for when the first flag is."""
        return Operation(self._reporter, None, resolve)

    def measure(self, name: str, value: _float) -> None:
        """Report a value of the current unit of work; outside of one, nothing happens.

        See ``Operation.measure``.
        """
        operation = _operation()
        if operation is not None and operation.reporter is self._reporter:
            operation.measure(name, value)

    def fail(self) -> None:
        """Say that the current unit of work failed; outside of one, nothing happens."""
        operation = _operation()
        if operation is not None and operation.reporter is self._reporter:
            operation.fail()

    # Evaluation

    def boolean(self, key: str, default: bool, context: Context | None = None) -> bool:
        """Return a boolean flag's value for a context, or ``default``; never raises.

        Without a context it is the current operation's.
        """
        # Long for the sake of speed: this is what applications do most, and each call or
        # look-up that is spared is a few percent of the whole.
        try:
            evaluate, shortcut = self._booleans[key]
            operation = _operation()
            if operation is None:
                if context is None:
                    context = NOBODY
                answer = evaluate(context)
            else:
                if context is None:
                    context = operation.context
                    if context is None:
                        context = operation.who()
                if shortcut is None:
                    answer = evaluate(context)
                    only = answer.release
                    if only is not None and only in operation.exposures:
                        value = answer.value
                        if value is not None:
                            return value  # type: ignore[no-any-return]
                else:
                    release, prefix, limit, below, above = shortcut
                    if release in operation.exposures:
                        # Counted already: all that is left to find out is the arm.
                        salted = prefix + context.targeting_key  # type: ignore[operator]
                        return below if _hash(salted, 0, False) < limit else above  # type: ignore[no-any-return]
                    answer = evaluate(context)
            if answer.exposures:
                self._count(answer, operation, context)
            value = answer.value
            if value is not None:
                return value  # type: ignore[no-any-return]
        except Exception:
            # Asked for the first time, unknown, of another type, or with a bad context.
            return self.boolean_details(key, default, context).value
        return default

    def string(self, key: str, default: str, context: Context | None = None) -> str:
        """Return a string flag's value for a context, or ``default``; never raises."""
        return self.string_details(key, default, context).value

    def integer(self, key: str, default: int, context: Context | None = None) -> int:
        """Return a number flag's value for a context, or ``default``; never raises.

        A value with a fraction is no integer: then it is ``default``.
        """
        return self.integer_details(key, default, context).value

    def float(self, key: str, default: float, context: Context | None = None) -> float:
        """Return a number flag's value for a context, or ``default``; never raises."""
        return self.float_details(key, default, context).value

    def object(self, key: str, default: T, context: Context | None = None) -> T | Any:
        """Return a copy of an object flag's value, or ``default``; never raises."""
        return self.object_details(key, default, context).value

    def boolean_details(
        self, key: str, default: bool, context: Context | None = None
    ) -> EvaluationDetails[bool]:
        """Like ``boolean``, with the variant, the reason, an error code and metadata."""
        return self._details("boolean", key, default, context, _as_it_is)

    def string_details(
        self, key: str, default: str, context: Context | None = None
    ) -> EvaluationDetails[str]:
        """Like ``string``, with the variant, the reason, an error code and metadata."""
        return self._details("string", key, default, context, _as_it_is)

    def integer_details(
        self, key: str, default: int, context: Context | None = None
    ) -> EvaluationDetails[int]:
        """Like ``integer``, with the variant, the reason, an error code and metadata."""
        return self._details("number", key, default, context, _as_integer)

    def float_details(
        self, key: str, default: _float, context: Context | None = None
    ) -> EvaluationDetails[_float]:
        """Like ``float``, with the variant, the reason, an error code and metadata."""
        return self._details("number", key, default, context, float)

    def object_details(
        self, key: str, default: T, context: Context | None = None
    ) -> EvaluationDetails[T | Any]:
        """Like ``object``, with the variant, the reason, an error code and metadata."""
        return self._details("object", key, default, context, copy.deepcopy)

    def _details(
        self, type_: FlagType, key: str, default: Any, context: Context | None, read: Read
    ) -> EvaluationDetails[Any]:
        try:
            operation = _operation()
            if context is None:
                context = NOBODY if operation is None else operation.context or operation.who()
            answer = self._ask(type_, key, context)
            value = default if answer.value is None else read(answer.value)
            if answer.exposures:
                self._count(answer, operation, context)
        except TypeMismatch as error:
            answer, value = _failure("TYPE_MISMATCH", str(error)), default
        except Exception as error:
            answer, value = _failure("GENERAL", f"{type(error).__name__}: {error}"), default
        details = EvaluationDetails(
            key,
            value,
            answer.variant,
            "STALE" if answer.error_code is None and self._unconfirmed() else answer.reason,
            answer.error_code,
            answer.error_message,
            answer.metadata,
        )
        for observer in self._observers:
            try:
                observer(details, NOBODY if context is None else context)
            except Exception:
                log.debug("an observer failed", exc_info=True)
        return details

    def _boolean_answer(self, key: str, context: Context) -> Evaluation | None:
        """Return the counted answer about a boolean flag, for who needs the whole of it quickly.

        None where only ``boolean_details`` says all: to observers, about an error, where the
        value is the caller's default, the first time, and while no server has confirmed the
        flags.
        """
        try:
            answer = self._booleans[key][0](context)
            if answer.value is None or (self._file is not None and self._unconfirmed()):
                return None
            if answer.exposures:
                operation = _operation()
                if operation is None or answer.release not in operation.exposures:
                    self._count(answer, operation, context)
        except Exception:
            return None
        return answer

    def _ask(self, type_: FlagType, key: str, context: Context) -> Evaluation:
        if self._compiled is None:
            self._begin_if_forked()
        compiled = self._compiled
        if compiled is None:
            return _failure("PROVIDER_NOT_READY", "no flags have come from the server yet")
        flag = compiled.flag(key)
        if flag is None:
            return _failure("FLAG_NOT_FOUND", f"flag {key} not found")
        if flag.type != type_ and f"flags/{key}" not in compiled.broken:
            raise TypeMismatch(f"{key!r} is a {flag.type} flag, not a {type_} one")
        return flag.evaluate(context)

    def _count(self, answer: Evaluation, operation: Operation | None, context: Context) -> None:
        """Note exposures in the unit of work; outside of one they have no outcome."""
        exposures = answer.exposures
        if operation is None or operation.reporter is not self._reporter:
            found = {exposure.release: exposure for exposure in reversed(exposures)}
            self._reporter.add(found, None, 0, None)
        elif answer.release is not None and operation.context is context:
            operation.exposures.setdefault(answer.release, exposures[0])
        else:
            operation.expose(exposures, context)

    # Background

    def _unconfirmed(self) -> bool:
        """Whether the flags are those of an earlier run, which no server has confirmed yet."""
        return self._file is not None and self._link is not None and self._link.fresh_at is None

    def _apply_cached(self) -> None:
        document = None if self._file is None else self._file.load()
        if document is None:
            return
        try:
            compiled = _compiled(document)
        except WireError as error:
            log.warning("the cached flags are ignored: %s", error)
            return
        self._apply(compiled)
        log.info("flags of version %d from the cache are in force", compiled.version)

    def _apply(self, compiled: CompiledSnapshot) -> None:
        # Each table is whole by itself: an evaluation reads exactly one.
        self._compiled = compiled
        self._choose_way()

    def _choose_way(self) -> None:
        """Put the present flags' table in place; whoever comes last does it for good."""
        # Without a lock: what was changed meanwhile, by another thread, is seen after the swap.
        table = None
        while table is not (table := self._quick_way()):
            self._booleans = table

    def _quick_way(self) -> dict[str, BooleanFlag]:
        """The table of flags that are asked without details: with observers there is none."""
        if self._observers or self._compiled is None:
            return _NO_FLAGS
        return self._compiled.booleans

    def _begin(self) -> None:
        self._apply_cached()
        self._connect()

    def _begin_late(self) -> None:
        """Begin in a child of the process in which this was put off; the first call counts."""
        if self._postponed is None or self._closed or not self._postponed.acquire(blocking=False):
            return
        # All children have the instance's id of the process that they come from.
        self._reporter.forgotten()
        self._begin()
        self._postponed = None

    def _begin_if_forked(self) -> None:
        """Begin late also where somebody else has taken the place of uWSGI's hook."""
        if self._postponed is not None and not uwsgi.workers_are_to_come():
            self._begin_late()

    def _connect(
        self, given: CompiledSnapshot | None = None, closed: frozenset[str] = frozenset()
    ) -> None:
        link: Link = load("tidegate.sync").Link(
            load("tidegate.transport").Transport(self._url, self._token),
            self._reporter,
            lambda: self._compiled,
            self._apply,
            self._file,
            self._tell,
            lambda: bool(self._listeners),
            given,
            closed,
        )
        self._link = link
        link.start()

    def _tell(self, event: ClientEvent) -> None:
        for listener in self._listeners:
            _call(listener, event)

    def _after_fork(self) -> None:
        """Begin anew in a forked child: the threads and the counts are the parent's."""
        self._reporter.abandon()
        self._reporter = load("tidegate.reporting").Reporter()
        if self._postponed is not None:
            self._begin_late()
        elif self._link is not None and not self._closed:
            ready = self._compiled is not None
            # What the parent closed stays closed here, too, until the server speaks.
            self._connect(self._link.given, self._link.closed)
            if ready and self._link is not None:
                self._link.ready.set()


def _call(listener: Listener, event: ClientEvent) -> None:
    try:
        listener(event)
    except Exception:
        log.exception("a listener failed")


def _compiled(document: object) -> CompiledSnapshot:
    snapshot = load("tidegate.wire").parse_snapshot(document)
    compiled: CompiledSnapshot = load("tidegate.evaluation.rule_set").compile_snapshot(snapshot)
    return compiled


def _failure(code: str, message: str) -> Evaluation:
    answer: Evaluation = load("tidegate.evaluation.results").failure(code, message)
    return answer


def _as_it_is(value: Any) -> Any:
    return value


def _as_integer(value: Any) -> int:
    if isinstance(value, int):
        return value
    if value.is_integer():
        return int(value)
    raise TypeMismatch(f"{value} is no whole number")


_float = float
_NO_FLAGS: dict[str, BooleanFlag] = {}
