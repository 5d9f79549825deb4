"""The client: what an application calls.

An evaluation takes no lock and allocates nothing: it looks up the flag's compiled function, calls
it, and notes the exposure in the current operation. Fresh flags replace the look-up tables as a
whole.

The modules that do the work are imported when the first client is made: ``import tidegate`` alone
stays fast.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import mmh3

from tidegate.context import NOBODY, Context, context_problem, usable_context
from tidegate.current_operation import current, current_operation
from tidegate.details import ClientStatus, EvaluationDetails
from tidegate.errors import InvalidSetting, TypeMismatch
from tidegate.lifecycle import Lifecycle, Listener, compile_document
from tidegate.operation import Operation, new_operation, warn_once
from tidegate.runtime.late_imports import load

if TYPE_CHECKING:
    from tidegate.evaluation.compiled_snapshot import CompiledSnapshot, ReadyFlag
    from tidegate.evaluation.results import Evaluation, Exposure
    from tidegate.model import FlagType
    from tidegate.reporting import Reporter

# It has no handler: without one of the application, Python prints the warnings to stderr.
log: logging.Logger = logging.getLogger("tidegate")

T = TypeVar("T")
Convert = Callable[[Any], Any]
ReadyTable: TypeAlias = "dict[str, ReadyFlag]"
Observer = Callable[[EvaluationDetails[Any], Context], None]

# Bound once: every evaluation calls it. A ``Held`` entry lacks what ``boolean`` reads of it.
_current_entry: Callable[[], Operation | None] = current.get  # type: ignore[assignment]
_hash = mmh3.hash


class Client:
    """Evaluates flags in this process and keeps them up to date in the background.

    The constructor neither waits for the server nor raises when it is away: until the first
    flags arrive, evaluations return the caller's defaults. A client made before a fork works in
    the children too, each as a separate instance. One client serves all threads.

    A URL or token that is missing or cannot be used is logged once and never retried; white space
    around it does not matter. ``status`` says why there are no flags.

    Args:
        url: the flag server's address; ``TIDEGATE_URL`` when not given.
        token: an SDK token; ``TIDEGATE_TOKEN`` when not given.
        cache_path: a file that keeps the last flags for a start without the server; processes
            may share it.
        application: what this application is called in lists of instances;
            ``TIDEGATE_APPLICATION`` when not given.
        report_seen_users: whether the server may ask for a sample of the users of operations, under
            hashes of their targeting keys and with those attributes that rules compare.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        cache_path: str | os.PathLike[str] | None = None,
        application: str | None = None,
        report_seen_users: bool = True,
    ) -> None:
        self._set_up(report_seen_users)
        if application is None:
            application = os.environ.get("TIDEGATE_APPLICATION", "")
        url = url or os.environ.get("TIDEGATE_URL", "")
        token = token or os.environ.get("TIDEGATE_TOKEN", "")
        if not (url and token):
            missing = "token" if url else "url"
            self._refuse(f"pass a {missing} or set TIDEGATE_{missing.upper()}")
            return
        addresses = load("tidegate.addresses")
        try:
            self._lifecycle.start(
                addresses.server_address(url),
                addresses.token_text(token),
                cache_path,
                application,
            )
        except InvalidSetting as error:
            self._refuse(str(error))

    @classmethod
    def offline(cls, snapshot: Mapping[str, Any] | str | bytes) -> Client:
        """Return a client of a snapshot, with no network and no threads.

        Args:
            snapshot: the snapshot as JSON, or the same decoded, which takes longer. A flag or a
                segment that cannot be read is logged, and the rest is kept.

        Raises:
            WireError: it is not a snapshot.
        """
        client = cls.__new__(cls)
        client._set_up()
        client._apply_flags(compile_document(snapshot))
        return client

    def _refuse(self, reason: str) -> None:
        log.warning("Tidegate has no flags: %s", reason)
        self._lifecycle.refuse(reason)

    def _set_up(self, report_seen_users: bool = False) -> None:
        self._report_seen_users = report_seen_users
        self._flags: CompiledSnapshot | None = None
        self._booleans: ReadyTable = _NO_FLAGS
        self._strings: ReadyTable = _NO_FLAGS
        self._integers: ReadyTable = _NO_FLAGS
        self._floats: ReadyTable = _NO_FLAGS
        self._objects: ReadyTable = _NO_FLAGS
        self._observers: tuple[Observer, ...] = ()
        self._use_reporter(load("tidegate.reporting").Reporter())
        self._lifecycle = Lifecycle(
            lambda: self._flags, self._apply_flags, self._reporter, self._renew_reporter
        )

    def wait_until_ready(self, timeout: float = 5.0) -> bool:
        """Wait up to ``timeout`` seconds for the first flags; return whether there are any.

        It also waits for one attempt to read the uploaded keys that the flags name.
        In a uWSGI master, where only the workers connect (``postponed``), it does not wait.
        """
        lifecycle = self._lifecycle
        lifecycle.start_late_if_forked()
        connection = lifecycle.connection
        if (self._flags is None or connection.completing) and not lifecycle.closed:
            connection.wait_until_ready(timeout)
        return self._flags is not None

    def flush(self) -> None:
        """Send what has not been reported, in a process that may end without calling ``close``.

        It waits two seconds at most. The client can be used afterwards; the server takes the
        report for the last one until another comes.
        """
        self._lifecycle.flush()

    def close(self) -> None:
        """Send what has not been reported, and end all threads and connections.

        The last report takes two seconds at most. Evaluations afterwards return the caller's
        default, with the error code ``PROVIDER_NOT_READY``. A second call does nothing.
        """
        self._lifecycle.close()

    def status(self) -> ClientStatus:
        """Return the state of this client."""
        connection = self._lifecycle.connection
        now = time.monotonic()
        confirmed_at, cause_since = connection.confirmed_at, connection.cause_since
        return ClientStatus(
            state=self._lifecycle.state(),
            version=None if self._flags is None else self._flags.version,
            age=None if confirmed_at is None else now - confirmed_at,
            instance=connection.instance,
            dropped=self._reporter.dropped,
            closed_here=connection.closed_here,
            invalid_contexts=self._reporter.invalid_contexts,
            problem=connection.cause,
            problem_age=None if cause_since is None else now - cause_since,
            key_set_problem=connection.key_set_problem,
            report_problem=connection.report_problem,
        )

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` with every change of this client's state, from its own thread.

        If the connection is lost already, the listener is called with that at once, from this
        thread. An exception of a listener is logged and otherwise ignored. Signals are blocked
        in the client's thread, and a process that a listener starts inherits that: leave such
        work to a thread of yours.

        Returns:
            A function that unsubscribes the listener.
        """
        return self._lifecycle.listen(listener)

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Call ``observer`` with every evaluation's details and context, where it happens.

        With observers each evaluation takes longer; without them it costs nothing. An exception
        of an observer is logged at the level of debugging and otherwise ignored.

        Returns:
            A function that unsubscribes the observer.
        """
        self._observers = (*self._observers, observer)
        self._update_tables()

        def unsubscribe() -> None:
            self._observers = tuple(each for each in self._observers if each is not observer)
            self._update_tables()

        return unsubscribe

    # Operations

    def operation(self, context: Context | str | None = None) -> Operation:
        """Return an operation, one unit of work, to use as a context manager.

        Its outcome and duration count for every release that evaluations within it were
        exposed to. Evaluations without a context use ``context``: a context, or a targeting key.
        """
        if not isinstance(context, Context) and context is not None:
            self._note_problem(context_problem(context))
            context = usable_context(context)
        reporter = self._reporter
        known = reporter.seen_users.known
        if known is not None and context is not None:
            try:
                if context.targeting_key not in known:
                    reporter.seen_users.look_at(context)
            except Exception:  # no targeting key is of such a type
                log.debug("a targeting key has no hash", exc_info=True)
        # The same as ``new_operation(self._reporter, context)``, without a call.
        operation = Operation()
        operation.reporter = reporter
        operation.context = context
        operation.noted = operation.several = operation.extras = None
        operation.ended = False
        return operation

    def operation_of(self, resolve: Callable[[], Context | str | None]) -> Operation:
        """Return an operation whose context is resolved at its first evaluation."""
        return new_operation(self._reporter, None, resolve)

    def measure(self, name: str, value: _float) -> None:
        """Report a value of the current operation; outside of one, do nothing.

        See ``Operation.measure``.
        """
        operation = current_operation()
        if operation is not None and operation.reporter is self._reporter:
            operation.measure(name, value)

    def fail(self) -> None:
        """Mark the current operation as failed; outside of one, do nothing."""
        operation = current_operation()
        if operation is not None and operation.reporter is self._reporter:
            operation.fail()

    # Evaluation

    def boolean(self, key: str, default: bool, context: Context | str | None = None) -> bool:
        """Return a boolean flag's value for a context, or ``default``; never raises.

        Args:
            key: the flag's key.
            default: the value if the flag cannot be evaluated.
            context: the context, or its targeting key; None: the current operation's context.
        """
        # Long for the sake of speed: applications call this most, and each call or look-up
        # costs a few percent of the whole. The same as ``_value``, without a call of it. A
        # targeting key is recognized where it fails: it has no attributes of a context.
        user: Any
        try:
            evaluate, shortcut = self._booleans[key]
            operation = _current_entry()
            noted = None
            if operation is None:
                user = NOBODY if context is None else context
            elif context is None:
                user = operation.context
                if user is None:
                    user = operation.resolve_context()
                noted = operation.noted
            else:
                user = context
                if context is operation.context:
                    noted = operation.noted
            if shortcut is not None:
                prefix, limit, value, exposure, above, above_exposure = shortcut
                hashed = _hash(prefix + user.targeting_key, 0, False)
                if hashed >= limit:
                    value, exposure = above, above_exposure
                if noted is not exposure:
                    if operation is None:
                        next(self._cells[exposure.cell])
                    elif (
                        operation.noted is None
                        and operation.several is None
                        and operation.context is user
                        and operation.reporter is self._reporter
                        and not operation.ended
                    ):
                        operation.hashed = hashed
                        operation.noted = exposure
                    else:
                        self._count_exposure(exposure, operation, user)
                return value  # type: ignore[no-any-return]
            evaluation = evaluate(user)
            only = evaluation.exposure
            if only is None:
                if evaluation.exposures:
                    self._count_exposures(evaluation, operation, user)
            elif only is not noted:
                self._count_exposures(evaluation, operation, user)
            value = evaluation.value
            if value is not None:
                return value  # type: ignore[no-any-return]
            if evaluation.error_code is None or user.targeting_key is None:
                return default
        except Exception:
            # The first evaluation, an unknown flag, another type, or no ``Context``.
            if isinstance(context, str):
                return self.boolean(key, default, Context(context))
        return self.boolean_details(key, default, context).value

    def string(self, key: str, default: str, context: Context | str | None = None) -> str:
        """Return a string flag's value for a context, or ``default``; never raises."""
        try:
            value = self._value(self._strings, key, context)
        except Exception:
            return self.string_details(key, default, context).value
        return default if value is None else value

    def integer(self, key: str, default: int, context: Context | str | None = None) -> int:
        """Return a number flag's value for a context, or ``default``; never raises.

        For a value with a fraction it is ``default``.
        """
        try:
            value = self._value(self._integers, key, context)
        except Exception:
            return self.integer_details(key, default, context).value
        return default if value is None else value

    def float(self, key: str, default: float, context: Context | str | None = None) -> float:
        """Return a number flag's value for a context, or ``default``; never raises."""
        try:
            value = self._value(self._floats, key, context)
            return default if value is None else _float(value)
        except Exception:
            return self.float_details(key, default, context).value

    def object(self, key: str, default: T, context: Context | str | None = None) -> T | Any:
        """Return a copy of an object flag's value, or ``default``; never raises."""
        try:
            value = self._value(self._objects, key, context)
            return default if value is None else _copy_of_json(value)
        except Exception:
            return self.object_details(key, default, context).value

    def _value(self, flags: ReadyTable, key: str, context: Context | str | None) -> Any:
        """Return a flag's value and count its exposures; None: use the caller's default.

        Raises:
            Exception: only the details tell the right value: at the first evaluation, and for
                an unknown flag, another type or a bad context.
        """
        evaluate, shortcut = flags[key]
        user: Any
        operation = _current_entry()
        noted = None
        if operation is None:
            user = NOBODY if context is None else context
        elif context is None:
            user = operation.context
            if user is None:
                user = operation.resolve_context()
            noted = operation.noted
        else:
            user = context
            if context is operation.context:
                noted = operation.noted
        if shortcut is not None:
            prefix, limit, value, exposure, above, above_exposure = shortcut
            if _hash(prefix + user.targeting_key, 0, False) >= limit:
                value, exposure = above, above_exposure
            if noted is not exposure:
                if operation is None:
                    next(self._cells[exposure.cell])
                else:
                    self._count_exposure(exposure, operation, user)
            return value
        evaluation = evaluate(user)
        only = evaluation.exposure
        if only is None:
            if evaluation.exposures:
                self._count_exposures(evaluation, operation, user)
        elif only is not noted:
            self._count_exposures(evaluation, operation, user)
        value = evaluation.value
        if value is None and evaluation.error_code and user.targeting_key is not None:
            raise _ContextProblem
        return value

    def boolean_details(
        self, key: str, default: bool, context: Context | str | None = None
    ) -> EvaluationDetails[bool]:
        """Like ``boolean``, with the variant, the reason, an error code and metadata."""
        return self._details("boolean", key, default, context, _unchanged)

    def string_details(
        self, key: str, default: str, context: Context | str | None = None
    ) -> EvaluationDetails[str]:
        """Like ``string``, with the variant, the reason, an error code and metadata."""
        return self._details("string", key, default, context, _unchanged)

    def integer_details(
        self, key: str, default: int, context: Context | str | None = None
    ) -> EvaluationDetails[int]:
        """Like ``integer``, with the variant, the reason, an error code and metadata."""
        return self._details("number", key, default, context, _to_integer)

    def float_details(
        self, key: str, default: _float, context: Context | str | None = None
    ) -> EvaluationDetails[_float]:
        """Like ``float``, with the variant, the reason, an error code and metadata."""
        return self._details("number", key, default, context, float)

    def object_details(
        self, key: str, default: T, context: Context | str | None = None
    ) -> EvaluationDetails[T | Any]:
        """Like ``object``, with the variant, the reason, an error code and metadata."""
        return self._details("object", key, default, context, _copy_of_json)

    def _details(
        self,
        type_: FlagType,
        key: str,
        default: Any,
        context: Context | str | None,
        convert: Convert,
    ) -> EvaluationDetails[Any]:
        problem = ""
        try:
            operation = current_operation()
            if context is None:
                context = NOBODY if operation is None else operation.resolve_context()
            elif not isinstance(context, Context):
                problem = context_problem(context)
                context = usable_context(context)
            evaluation = self._evaluate(type_, key, context)
            if evaluation.error_code == "TARGETING_KEY_MISSING":
                code = "INVALID_CONTEXT" if problem else evaluation.error_code
                problem = problem or context_problem(context)
                evaluation = _failure(code, problem) if problem else evaluation
            self._note_problem(problem)
            value = default if evaluation.value is None else convert(evaluation.value)
            if evaluation.exposures:
                self._count_exposures(evaluation, operation, context)
        except TypeMismatch as error:
            evaluation, value = _failure("TYPE_MISMATCH", str(error)), default
        except Exception as error:
            evaluation, value = _failure("GENERAL", f"{type(error).__name__}: {error}"), default
        reason = evaluation.reason
        if evaluation.error_code is None and self._lifecycle.uses_unconfirmed_flags():
            reason = "STALE"
        details = EvaluationDetails(
            key,
            value,
            evaluation.variant,
            reason,
            evaluation.error_code,
            evaluation.error_message,
            evaluation.metadata,
        )
        for observer in self._observers:
            try:
                observer(details, usable_context(context))
            except Exception:
                log.debug("an observer failed", exc_info=True)
        return details

    def _evaluate_boolean(self, key: str, context: Context) -> Evaluation | None:
        """Return the whole evaluation of a boolean flag, and count its exposures; fast.

        None where only ``boolean_details`` returns the right details: at the first evaluation,
        with an error or the caller's default, with observers, and while no server has
        confirmed the flags.
        """
        lifecycle = self._lifecycle
        try:
            evaluation = self._booleans[key][0](context)
            if evaluation.value is None:
                return None
            if lifecycle.cache_file is not None and lifecycle.uses_unconfirmed_flags():
                return None
            if evaluation.exposures:
                operation = current_operation()
                exposure = evaluation.exposure
                # The same exposure of the same user is noted already.
                if (
                    operation is None
                    or exposure is None
                    or operation.noted is not exposure
                    or operation.context is None
                    or operation.context.targeting_key != context.targeting_key
                ):
                    self._count_exposures(evaluation, operation, context)
        except Exception:
            return None
        return evaluation

    def _evaluate(self, type_: FlagType, key: str, context: Context) -> Evaluation:
        if self._flags is None:
            self._lifecycle.start_late_if_forked()
        flags = self._flags
        if self._lifecycle.closed:
            return _failure("PROVIDER_NOT_READY", "the client is closed: make another one")
        if flags is None:
            self._lifecycle.asked_early = True
            cause = self._lifecycle.connection.cause
            message = "no flags have come from the server yet"
            return _failure("PROVIDER_NOT_READY", f"{message}: {cause}" if cause else message)
        flag = flags.flag(key)
        counts = self._reporter.evaluations
        if flag is None:
            counts.count(key, None, known=False)
            warn_once(
                f"flag {key!r} is asked for, but the server has no such flag here, or it is "
                "archived: the application gets its default"
            )
            return _failure("FLAG_NOT_FOUND", f"flag {key} not found")
        if flag.type != type_ and f"flags/{key}" not in flags.broken:
            counts.count(key, None)
            raise TypeMismatch(f"{key!r} is a {flag.type} flag, not a {type_} flag")
        evaluation = flag.evaluate(context)
        counts.count(key, evaluation.variant)
        counts.count_next(key)
        return evaluation

    def _note_problem(self, problem: str) -> None:
        """Log what is wrong with a context, each kind once, and count it."""
        if problem:
            warn_once(f"{problem}: without it, percentages give the default")
            self._reporter.count_invalid_context()

    def _count_exposures(
        self, evaluation: Evaluation, operation: Operation | None, context: Context
    ) -> None:
        """Note exposures in the operation; outside of one they have no outcome."""
        exposures = evaluation.exposures
        if evaluation.exposure is not None:
            self._count_exposure(evaluation.exposure, operation, context)
        elif operation is None or operation.reporter is not self._reporter:
            by_release = {exposure.release: exposure for exposure in reversed(exposures)}
            self._reporter.add(by_release.values(), None, None, None)
        else:
            operation.expose(exposures, context)

    def _count_exposure(
        self, exposure: Exposure, operation: Operation | None, context: Context
    ) -> None:
        if operation is None or operation.reporter is not self._reporter:
            self._reporter.expose(exposure)
        elif not operation.note(exposure, context):
            operation.expose((exposure,), context)

    # Flags and counts

    def _apply_flags(self, flags: CompiledSnapshot | None) -> None:
        # Each table is complete: an evaluation reads exactly one.
        self._flags = None if self._lifecycle.closed else flags
        self._update_tables()

    def _update_tables(self) -> None:
        """Replace the tables; concurrent calls end with the newest."""
        # Without a lock: a change by another thread in between is seen after the swap.
        tables = None
        while tables is not (tables := self._tables()):
            self._booleans, self._strings, self._integers, self._floats, self._objects = tables
            self._reporter.evaluations.use(tables)

    def _tables(self) -> tuple[ReadyTable, ...]:
        """Return the flags that are evaluated without details: none for observers."""
        if self._observers or self._flags is None:
            return _NO_TABLES
        return self._flags.ready

    def _renew_reporter(self) -> Reporter:
        """Replace the reporter in a forked child, and return the new one."""
        self._reporter.abandon()
        self._use_reporter(load("tidegate.reporting").Reporter())
        self._reporter.evaluations.use(self._tables())
        return self._reporter

    def _use_reporter(self, reporter: Reporter) -> None:
        reporter.seen_users.allowed = self._report_seen_users
        self._reporter = reporter
        self._cells = reporter.cells.steps


def _failure(code: str, message: str) -> Evaluation:
    failed: Evaluation = load("tidegate.evaluation.results").failed_evaluation(code, message)
    return failed


def _unchanged(value: Any) -> Any:
    return value


class _ContextProblem(Exception):
    """Only the details tell what is wrong with a context."""


def _copy_of_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy_of_json(item) for key, item in value.items()}
    return [_copy_of_json(item) for item in value] if isinstance(value, list) else value


def _to_integer(value: Any) -> int:
    if isinstance(value, int):
        return value
    if value.is_integer():
        return int(value)
    raise TypeMismatch(f"{value} is not a whole number")


_float = float
_NO_FLAGS: ReadyTable = {}
_NO_TABLES = (_NO_FLAGS,) * 5
