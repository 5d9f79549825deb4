"""The connection of a client to the server, which keeps its flags up to date.

Threads: two daemon threads in each process. ``tidegate-updates`` runs ``_follow_updates`` and
alone changes the state of this class; ``tidegate-reports`` sends reports
(``tidegate.report_thread``). A third one watches over releases while the server is away
(``tidegate.local_breaker``), and a fourth one reads key sets (``tidegate.key_set_thread``).
``_updating`` is held while flags are updated. An evaluation waits for none of these: they share
with the client only ``apply_flags``, which replaces the flags as a whole.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

from tidegate.backoff import Backoff
from tidegate.details import ClientEvent
from tidegate.errors import Refused, Rejected, Unreachable, WireError
from tidegate.evaluation.compiled_snapshot import CompiledSnapshot
from tidegate.evaluation_counts import EVALUATIONS
from tidegate.flag_follower import FlagFollower, Report, needs_report
from tidegate.key_set_thread import KeySetThread
from tidegate.local_breaker import LocalBreaker
from tidegate.model import InKeySet
from tidegate.persistence import SnapshotFile
from tidegate.random_numbers import RANDOM
from tidegate.report_thread import ReportThread
from tidegate.reporting import Reporter, counts_document
from tidegate.runtime import threads
from tidegate.runtime.late_imports import load
from tidegate.seen_users import SeenUsers
from tidegate.transport import SDK, Transport

if TYPE_CHECKING:
    from tidegate.evaluation.key_sets import KeySet

log: logging.Logger = logging.getLogger("tidegate")

RETRY = Backoff(first_s=1.0, longest_s=30.0, jitter=0.5)
RETRY_REFUSED = Backoff(first_s=1.0, longest_s=60.0, jitter=0.5)
"""After a refused token: a person has to act, which takes longer."""

MAX_RETRY_AFTER = 60.0
"""The longest wait, in seconds, that the server can ask for."""

STEADY_SECONDS = 5.0
"""A stream that lasted this long was a good one: the next wait is short."""

POLLING_AFTER = 2
"""After so many failures of the stream in a row the flags are polled as well."""

POLL_SECONDS = 5.0
"""The longest time between two polls while polling works and the stream does not."""


SEEN_USERS = "seen_users"
ADDED = frozenset({EVALUATIONS, "application", "uptime", "version_age", SEEN_USERS})
"""The parts of a report that servers of earlier versions do not know."""

PLAIN_SECONDS = 3_600.0
"""How long reports have only the other parts after a server has refused these."""

END_SECONDS = 3.0
"""How long ``stop`` waits for threads whose requests it has cut: a listener may be busy, and the
look-up of a host name cannot be cut."""


NO_FLAGS = "evaluations return defaults; `python -m tidegate check` tests each step"

PAUSE_SECONDS = 0.0001
"""Python gives a thread 5 ms before it makes it release the interpreter. A pause does so at once.
Without a time the same thread would mostly go on, before another one wakes up."""


def _let_others_work() -> None:
    time.sleep(PAUSE_SECONDS)


class HttpSource:
    """The flag server, as a source of flags.

    Args:
        transport: sends the requests.
        seen_users: the users whom reports name.
    """

    def __init__(self, transport: Transport, seen_users: SeenUsers | None = None) -> None:
        self._transport = transport
        self._seen_users = SeenUsers(allowed=False) if seen_users is None else seen_users
        self._plain_until = 0.0

    def snapshot(self) -> object:
        """Return the whole snapshot."""
        return self._transport.snapshot(None)

    def key_set(self, wanted: InKeySet, known: KeySet | None) -> KeySet:
        """Return a key set: from the changes since an earlier one, if the server has these."""
        key_sets = load("tidegate.evaluation.key_sets")
        digest, largest = wanted.key_set, wanted.count * key_sets.HASH_BYTES
        since = None if known is None else known.digest
        content, is_changes = self._transport.key_set(digest, since, largest)
        if known is not None and is_changes:
            try:
                return known.changed(digest, content)
            except WireError:
                log.debug("the changes of a key set cannot be used", exc_info=True)
                content, _ = self._transport.key_set(digest, None, largest)
        found: KeySet = key_sets.KeySet.of_content(digest, wanted.salt, content)
        return found

    def report(self, report: Report) -> bool:
        """Send a report; return False if the server does not know this instance any more."""
        document = self.document(report)
        plain = {name: part for name, part in document.items() if name not in ADDED}
        if time.monotonic() < self._plain_until:
            return self._transport.report(plain)
        try:
            known = self._transport.report(document)
        except Rejected:
            # A server of an earlier version does not know what was added. What decides must arrive.
            known = self._transport.report(plain)
            self._plain_until = time.monotonic() + PLAIN_SECONDS
            return known
        if known:
            named = document.get(SEEN_USERS, [])
            self._seen_users.acknowledge(named, self._transport.answer.get(SEEN_USERS))
        return known

    def document(self, report: Report) -> dict[str, Any]:
        """Return a report as ``docs/wire/report.schema.json`` has it."""
        seen = self._seen_users.document(report.key_sets)
        return counts_document(report.counts) | {
            "version": report.version,
            "interval": report.interval,
            "leaving": report.leaving,
            "sdk": SDK,
            "host": self._transport.host,
            "pid": self._transport.pid,
            "application": self._transport.application,
            "uptime": self._transport.uptime,
            "version_age": report.version_age,
            **({SEEN_USERS: seen} if seen else {}),
        }


class ServerConnection:
    """Keeps the flags of one client in one process up to date, and reports its counts.

    Args:
        transport: sends the requests.
        reporter: the counts to report.
        get_flags: returns the flags in force; None before the first.
        apply_flags: puts other flags in force.
        file: where the flags are kept for the next start; None: nowhere.
        notify: called with every change of state.
        has_listeners: whether anyone is interested in changed flags.
        parent: the connection of the process that this one was forked from. Flags whose
            release the parent closed stay closed until the server answers.

    Attributes:
        ready: set once the server has confirmed flags.
        completing: whether the server's first flags are in force and their key sets on the way.
        connected: whether the last attempt reached the server.
        confirmed_at: when the server last confirmed the flags, by the monotonic clock.
        problem: the event of the present loss of the connection; None while connected.
        cause: why the last attempt did not reach the server; None while connected.
        cause_since: when the server was first not reached, by the monotonic clock.
    """

    def __init__(
        self,
        transport: Transport,
        reporter: Reporter,
        get_flags: Callable[[], CompiledSnapshot | None],
        apply_flags: Callable[[CompiledSnapshot], None],
        file: SnapshotFile | None = None,
        notify: Callable[[ClientEvent], None] = lambda event: None,
        has_listeners: Callable[[], bool] = lambda: True,
        parent: ServerConnection | None = None,
    ) -> None:
        flags = get_flags()
        server_flags = flags if parent is None else parent.server_flags or flags
        closed = frozenset[str]() if parent is None else parent.closed_here
        self._transport = transport
        self._connections = transport.connections
        self._reporter = reporter
        self._follower: FlagFollower = FlagFollower(
            HttpSource(transport, reporter.seen_users),
            reporter,
            server_flags,
            _let_others_work,
            None if parent is None else parent._follower,
        )
        self._updating = threading.Lock()
        self._key_sets = KeySetThread(self._follower, self._updating, self._take_flags)
        self._breaker = LocalBreaker(reporter, get_flags, apply_flags, notify, closed)
        self._notify = notify
        self._has_listeners = has_listeners
        self._failures = 0
        self._stopping = threading.Event()
        self._settled = threading.Event()
        self._thread: threading.Thread | None = None
        self.problem: ClientEvent | None = None
        self.cause: str | None = None
        self.cause_since: float | None = None
        self.ready: threading.Event = threading.Event()
        self.completing: bool = False
        self.connected: bool = False
        self.confirmed_at: float | None = None
        self._reports = ReportThread(self._follower, self.ready, file)
        if parent is not None and flags is not None:
            self.ready.set()
            self._settled.set()

    @property
    def state(self) -> str:
        """The client's state once it has flags."""
        return "connected" if self.connected else "stale"

    @property
    def instance(self) -> str | None:
        """The id under which this process reports."""
        return self._reporter.instance

    @property
    def server_flags(self) -> CompiledSnapshot | None:
        """The flags that the server sent last; other ones are in force after a local trip."""
        return self._follower.flags

    @property
    def key_set_problem(self) -> str | None:
        """Why the keys of a segment are older than the server's, or missing; None: they are not."""
        return self._key_sets.problem

    @property
    def report_problem(self) -> str | None:
        """Why the last report did not arrive; None if it did, or there was none."""
        return self._reports.problem

    @property
    def closed_here(self) -> frozenset[str]:
        """The keys of flags whose release this process closed for itself."""
        return self._breaker.closed

    def start(self) -> None:
        """Start both threads."""
        try:
            self._reports.start()
            self._thread = threads.start("tidegate-updates", self._follow_updates)
        except RuntimeError as error:
            # There are too many threads, or (Python 3.12) the interpreter ends. The application
            # goes on with the flags that it has; ``status`` says why it gets no others.
            self._disconnected(f"no thread can be started: {error}")
            self._settled.set()

    def wait_until_ready(self, timeout: float) -> bool:
        """Wait until the server has confirmed flags, or ``stop``; return whether it has."""
        self._settled.wait(timeout)
        return self.ready.is_set()

    def report_now(self) -> None:
        """Send a report at once, in the background."""
        self._reports.report_now()

    def flush(self) -> None:
        """Send a report that may be the last one, and wait for it, two seconds at most."""
        self._reports.flush()

    def ask_to_stop(self) -> None:
        """Let both threads end, after a last report; returns immediately."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._settled.set()
            self._breaker.stop()
            self._key_sets.ask_to_stop()
            self._reports.ask_to_stop()

    def stop(self) -> None:
        """End everything: the last report takes two seconds at most, what waits longer is cut."""
        self.ask_to_stop()
        self._reports.wait_for_last_report()
        self._connections.cut()
        deadline = time.monotonic() + END_SECONDS
        # No thread starts another one any more once the first has ended.
        ended = [threads.join(self._thread, deadline)]
        self._breaker.stop()
        others = (self._reports, self._breaker, self._key_sets)
        ended += [each.join(deadline) for each in others]
        self._connections.close()
        if not all(ended):
            log.warning("a thread of the closed client goes on: a listener or a look-up is busy")

    def drop(self) -> None:
        """Release the connections in a forked child: they and the threads are the parent's."""
        self._connections.drop()

    def _follow_updates(self) -> None:
        while not self._stopping.is_set():
            began = time.monotonic()
            refused = False
            retry_after = 0.0
            try:
                self._read_stream()
                reason = "the stream ended"
            except Unreachable as error:
                refused = isinstance(error, Refused)
                reason = error.kind
                retry_after = error.wait
            except Exception as error:
                # A bug in the SDK must not leave the application with old flags for ever.
                reason = f"an unexpected {type(error).__name__}"
                log.debug("an update failed", exc_info=True)
            # A stream that is cut as soon as it is open is no better than none.
            steady = time.monotonic() - began >= STEADY_SECONDS
            self._failures = 1 if steady else self._failures + 1
            wait = self._retry_wait(refused, retry_after)
            if self._failures >= POLLING_AFTER and self._poll():
                wait = min(wait, POLL_SECONDS)
            else:
                self._disconnected(reason, refused=refused)
            self._stopping.wait(wait)

    def _retry_wait(self, refused: bool, retry_after: float = 0.0) -> float:
        """Return the seconds until the next attempt; at least what the server asked for."""
        wait = (RETRY_REFUSED if refused else RETRY).wait_s(self._failures)
        spread = RANDOM.uniform(1.0, 1.5)
        return max(wait, min(retry_after, MAX_RETRY_AFTER) * spread)

    def _read_stream(self) -> None:
        # Closed at once, whatever is raised in the loop and whoever keeps that.
        with closing(self._transport.events(self._known())) as events:
            for event in events:
                if self._stopping.is_set():
                    return
                if event.name == "snapshot":
                    self._take_snapshot(event.data)
                elif event.name == "update":
                    self._take_update(event.data)
                elif self.server_flags is None:
                    continue
                self._confirmed()

    def _poll(self) -> bool:
        """Ask for the flags once; return whether the server answered."""
        try:
            document = self._transport.snapshot(self._known())
            if document is not None:
                self._take_snapshot(document)
        except Unreachable:
            return False
        except Exception:
            log.debug("a poll failed", exc_info=True)
            return False
        self._confirmed()
        return True

    def _known(self) -> tuple[int, str] | None:
        """Return the version and the incarnation of the server's flags; None: there are none."""
        flags = self.server_flags
        return None if flags is None else (flags.version, flags.snapshot.incarnation)

    def _server_version(self) -> int | None:
        return None if self.server_flags is None else self.server_flags.version

    def _take_snapshot(self, document: object) -> None:
        is_first = self.server_flags is None
        # Whoever waits until the client is ready waits for the keys, too.
        self.completing = is_first
        try:
            with self._updating:
                self._take_flags(self._follower.take_snapshot(document))
        except WireError as error:
            raise Unreachable(f"the snapshot cannot be read: {error}") from None
        if is_first:
            self._key_sets.read_once()
            self.completing = False

    def _take_update(self, document: object) -> None:
        try:
            with self._updating:
                flags = self._follower.take_update(document)
                if flags is not None:
                    self._take_flags(flags)
        except WireError as error:
            raise Unreachable(f"an update cannot be read: {error}") from None

    def _take_flags(self, flags: CompiledSnapshot) -> None:
        before = self._apply_server_flags(flags)
        for place, error in flags.broken.items():
            if before is None or place not in before.broken:
                log.warning("%s cannot be read: %s", place, error)
        if needs_report(before, flags):
            self._reports.report_now()

    def _apply_server_flags(self, flags: CompiledSnapshot) -> CompiledSnapshot | None:
        """Put the server's flags in force, and end an outage; return the flags before."""
        before, reopened = self._breaker.end_outage(flags)
        if reopened:
            # The server learns at once what happened during the outage.
            self._reports.report_now()
        changed = before is not None and before is not flags and self._has_listeners()
        if changed and before is not None and (keys := flags.changed_flags(before)):
            self._notify(ClientEvent("changed", keys))
        return before

    def _confirmed(self) -> None:
        """Note that the server has confirmed the flags."""
        self.confirmed_at = time.monotonic()
        self.connected = True
        self.cause = self.cause_since = None
        with self._updating:
            if self.server_flags is not None:
                self._apply_server_flags(self.server_flags)
        self._key_sets.start_if_needed()
        if self.problem is not None or not self.ready.is_set():
            self.problem = None
            log.info("connected to the server, flags at version %d", self._server_version() or 0)
            self.ready.set()
            self._settled.set()
            self._notify(ClientEvent("ready"))

    def _disconnected(self, reason: str, *, refused: bool = False) -> None:
        """Note that the server cannot be reached, or refuses the token."""
        self.connected = False
        if not self._stopping.is_set():
            if self.cause_since is None:
                self.cause_since = time.monotonic()
            self.cause = reason
            self._breaker.start_outage()
        known = self.problem
        if self._stopping.is_set() or (known and (known.kind == "refused" or not refused)):
            return
        # A refusal is reported even during an outage: a person has to act.
        self.problem = ClientEvent("refused" if refused else "stale", message=reason)
        kept = "the last flags stay in force" if self.server_flags else NO_FLAGS
        log.warning("Tidegate is not connected to its server (%s): %s", reason, kept)
        self._notify(self.problem)
