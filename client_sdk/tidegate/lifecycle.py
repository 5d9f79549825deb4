"""The life of a client in its process: start, fork, late start, close.

A client connects when it is made, again in each forked child, and in a uWSGI master not at all:
there it starts late, in the workers.

Threads: ``_postponed`` is a lock that is taken once, by the first of the callers that start a
postponed client. The other attributes are replaced as a whole.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from tidegate.details import ClientEvent
from tidegate.errors import WireError
from tidegate.runtime import process_hooks, uwsgi
from tidegate.runtime.late_imports import load

if TYPE_CHECKING:
    from tidegate.evaluation.compiled_snapshot import CompiledSnapshot
    from tidegate.persistence import SnapshotFile
    from tidegate.reporting import Reporter
    from tidegate.sync import ServerConnection

log: logging.Logger = logging.getLogger("tidegate")

Listener = Callable[[ClientEvent], None]


class NoConnection:
    """Stands in for a ``ServerConnection`` where there is none: offline, or not started."""

    state: str = "offline"
    instance: str | None = None
    confirmed_at: float | None = None
    closed_here: frozenset[str] = frozenset()
    key_set_problem: str | None = None
    report_problem: str | None = None
    completing: bool = False

    def __init__(self, problem: ClientEvent | None = None) -> None:
        self.problem: ClientEvent | None = problem
        self.cause: str | None = None if problem is None else problem.message
        self.cause_since: float | None = None if problem is None else time.monotonic()

    def wait_until_ready(self, timeout: float) -> bool:
        """Return False at once: no flags will come."""
        return False

    def flush(self) -> None:
        """Do nothing."""

    def ask_to_stop(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""

    def drop(self) -> None:
        """Do nothing."""


class Lifecycle:
    """Connects a client to the server, and follows its process through forks to the end.

    Args:
        get_flags: returns the client's flags; None before the first.
        apply_flags: gives the client other flags; None: it has no more.
        reporter: what the client counts.
        renew_reporter: gives the client a new reporter and returns it.

    Attributes:
        asked_early: whether the application asked for a flag before the first flags came.
    """

    def __init__(
        self,
        get_flags: Callable[[], CompiledSnapshot | None],
        apply_flags: Callable[[CompiledSnapshot | None], None],
        reporter: Reporter,
        renew_reporter: Callable[[], Reporter],
    ) -> None:
        self._get_flags = get_flags
        self._apply_flags = apply_flags
        self._reporter = reporter
        self._renew_reporter = renew_reporter
        self._url = self._token = self._application = ""
        self.cache_file: SnapshotFile | None = None
        self._listeners: tuple[Listener, ...] = ()
        self._postponed: threading.Lock | None = None
        self.closed: bool = False
        self.asked_early: bool = False
        self.connection: ServerConnection | NoConnection = NoConnection()

    def start(
        self, url: str, token: str, cache_path: str | os.PathLike[str] | None, application: str = ""
    ) -> None:
        """Connect to a server, or in a uWSGI master let the workers do so."""
        self._url, self._token, self._application = url, token, application
        if cache_path is not None:
            try:
                path = os.fsdecode(cache_path)
            except TypeError as error:
                log.warning("the flags are not cached: cache_path: %s", error)
            else:
                self.cache_file = load("tidegate.persistence").SnapshotFile(path, url, token)
        if uwsgi.workers_will_start():
            self._postponed = threading.Lock()
            # Imported before the fork, for all workers at once: they are ready sooner.
            load("tidegate.sync")
            load("tidegate.transport")
            process_hooks.register(self)
            client = weakref.ref(self)

            def start_if_alive() -> None:
                if (alive := client()) is not None:
                    alive.start_late()

            uwsgi.call_in_workers(start_if_alive)
        else:
            process_hooks.register(self)
            self._load_cache_and_connect()

    def refuse(self, reason: str) -> None:
        """Connect never: the URL or the token cannot be used. Listeners learn it when they come."""
        self.connection = NoConnection(ClientEvent("refused", message=reason))

    def start_late(self) -> None:
        """Connect in a child of the process in which this was postponed; once."""
        if self._postponed is None or self.closed or not self._postponed.acquire(blocking=False):
            return
        # The instance id was copied from the parent, and is the same in all its children.
        self._reporter.renew_instance()
        self._load_cache_and_connect()
        self._postponed = None

    def start_late_if_forked(self) -> None:
        """Connect in a uWSGI worker where another library has replaced the hook."""
        if self._postponed is not None and not uwsgi.workers_will_start():
            self.start_late()

    def restart_after_fork(self) -> None:
        """Connect in a forked child: the threads and the counts are its parent's."""
        self._reporter = self._renew_reporter()
        parent = self.connection
        parent.drop()
        if self._postponed is not None:
            self.start_late()
        elif not isinstance(parent, NoConnection) and not self.closed:
            self._connect(parent)

    def flush(self) -> None:
        """Send what has not been reported; waits two seconds at most."""
        self.connection.flush()

    def ask_to_close(self) -> None:
        """Let the threads end, after a last report; returns immediately."""
        self.connection.ask_to_stop()

    def close(self) -> None:
        """Send what has not been reported, and end everything; a second call does nothing."""
        if self.closed:
            return
        self.closed = True
        process_hooks.unregister(self)
        connection = self.connection
        connects = not isinstance(connection, NoConnection) and connection.cause is None
        if self.asked_early and self._get_flags() is None and connects:
            log.warning(
                "the client ends before its first flags came, and evaluations returned defaults: "
                "in a short program, call wait_until_ready() before the first one"
            )
        self.connection.stop()
        if isinstance(self.connection, NoConnection):
            self._reporter.abandon()
        else:
            self._reporter.close()
        self._apply_flags(None)

    def state(self) -> str:
        """Return the client's state, see ``tidegate.ClientStatus``."""
        if self.closed:
            return "closed"
        if self._postponed is not None:
            return "postponed"
        return "starting" if self._get_flags() is None else self.connection.state

    def uses_unconfirmed_flags(self) -> bool:
        """Return whether the flags come from the cache file and no server has confirmed them."""
        return self.cache_file is not None and self.connection.confirmed_at is None

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call a listener with every change of state; return a function that ends this."""
        self._listeners = (*self._listeners, listener)
        if self.connection.problem is not None:
            _call(listener, self.connection.problem)

        def unsubscribe() -> None:
            self._listeners = tuple(each for each in self._listeners if each is not listener)

        return unsubscribe

    def _notify(self, event: ClientEvent) -> None:
        for listener in self._listeners:
            _call(listener, event)

    def _connect(self, parent: ServerConnection | None = None) -> None:
        connection: ServerConnection = load("tidegate.sync").ServerConnection(
            load("tidegate.transport").Transport(self._url, self._token, self._application),
            self._reporter,
            self._get_flags,
            self._apply_flags,
            self.cache_file,
            self._notify,
            lambda: bool(self._listeners),
            parent,
        )
        self.connection = connection
        connection.start()
        if self.closed:
            connection.stop()  # by another thread, before it could see this connection

    def _load_cache_and_connect(self) -> None:
        self._load_cache()
        self._connect()

    def _load_cache(self) -> None:
        document = None if self.cache_file is None else self.cache_file.load()
        if document is None:
            return
        try:
            flags = compile_document(document, self.cache_file)
        except WireError as error:
            log.warning("the cached flags are ignored: %s", error)
            return
        self._apply_flags(flags)
        log.info("the cached flags are in force, at version %d", flags.version)


def compile_document(document: object, file: SnapshotFile | None = None) -> CompiledSnapshot:
    """Compile a snapshot document. A part that cannot be read is logged, and the rest is kept.

    Args:
        document: the document.
        file: where its key sets are; None: there are none.

    Raises:
        WireError: it is not a snapshot.
    """
    broken: dict[str, WireError] = {}
    snapshot = load("tidegate.wire").parse_snapshot(document, broken)
    compiled = load("tidegate.evaluation.compiled_snapshot")
    named = load("tidegate.evaluation.conditions").key_sets_in(snapshot.segments.values())
    key_sets = file.load_key_sets(named) if file is not None and named else {}
    flags: CompiledSnapshot = compiled.compile_snapshot(snapshot, broken, key_sets=key_sets)
    for place, error in broken.items():
        log.warning("%s cannot be read: %s", place, error)
    return flags


def _call(listener: Listener, event: ClientEvent) -> None:
    try:
        listener(event)
    except (Exception, SystemExit):  # an exit would end only the client's own thread
        log.exception("a listener failed")
