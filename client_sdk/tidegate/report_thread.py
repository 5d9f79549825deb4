"""The thread that sends a client's reports, and keeps its flags on disk.

Threads: ``_send_reports`` runs in the thread ``tidegate-reports``. Other threads only set and
wait for events. An evaluation waits for none of them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque

from tidegate import wire
from tidegate.errors import Refused, Rejected, Unreachable
from tidegate.evaluation.compiled_snapshot import CompiledSnapshot
from tidegate.evaluation_counts import ROUND_SECONDS
from tidegate.flag_follower import LAST_REPORT_SECONDS, FlagFollower, whole_key_sets
from tidegate.persistence import SnapshotFile
from tidegate.random_numbers import RANDOM
from tidegate.runtime import threads

log: logging.Logger = logging.getLogger("tidegate")

NOT_LOST = "the next one repeats the counts; `python -m tidegate check` tests each step"


class ReportThread:
    """Sends reports at the interval that the flags ask for, and on request.

    Args:
        follower: composes and sends the reports.
        ready: set once the server has confirmed flags; there is nothing to report before.
        file: where the server's flags are kept for the next start; None: nowhere.

    Attributes:
        problem: why the last report did not arrive; None if it did, or there was none.
    """

    def __init__(
        self, follower: FlagFollower, ready: threading.Event, file: SnapshotFile | None
    ) -> None:
        self._follower = follower
        self._ready = ready
        self._file = file
        self._saved: CompiledSnapshot | None = follower.flags
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._last_report_by: float | None = None
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self._flushes: deque[threading.Event] = deque()
        self._warned_of: str | None = None
        self.problem: str | None = None

    def start(self) -> None:
        """Start the thread.

        Raises:
            RuntimeError: no thread can be started.
        """
        self._follower.evaluations.begin()
        self._thread = threads.start("tidegate-reports", self._send_reports)

    def report_now(self) -> None:
        """Send a report at once, from the thread; returns immediately."""
        self._wake.set()

    def flush(self) -> None:
        """Send a report and wait for it, two seconds at most.

        It is marked as the last one; a later report revokes that.
        """
        if not self._ready.is_set() or self._stopping.is_set() or self._thread is None:
            return
        flushed = threading.Event()
        self._flushes.append(flushed)
        self._wake.set()
        flushed.wait(LAST_REPORT_SECONDS)

    def ask_to_stop(self) -> None:
        """Let the thread send a last report and end; returns immediately."""
        if self._ready.is_set():
            self._last_report_by = time.monotonic() + LAST_REPORT_SECONDS
        self._stopping.set()
        self._wake.set()

    def wait_for_last_report(self) -> None:
        """Wait for the last report, until two seconds after the thread was asked to stop."""
        if self._last_report_by is not None and self._thread is not None:
            # The thread sends it: since Python 3.12 no other can be started while the
            # interpreter ends. A dead server must not keep an application from ending.
            self._done.wait(max(0.0, self._last_report_by - time.monotonic()))
        self._save_flags()

    def join(self, deadline: float) -> bool:
        """Wait for the end of the thread; return whether it has ended."""
        return threads.join(self._thread, deadline)

    def _send_reports(self) -> None:
        while not self._stopping.is_set():
            interval = self._follower.report_interval()
            self._wait(interval * RANDOM.uniform(0.9, 1.0))
            if self._stopping.is_set():
                break
            self._wake.clear()
            self._save_flags()
            flushes = len(self._flushes)
            reported = not self._ready.is_set() or self._report(leaving=flushes > 0)
            # Those who have asked since then may have counted what the report does not contain.
            self._end_flushes(flushes)
            if not reported:
                # Nothing is lost by waiting: the next report repeats all totals.
                self._wake.wait(interval)
        if self._last_report_by is not None:
            self._report(leaving=True)
        self._done.set()
        self._end_flushes(len(self._flushes))

    def _wait(self, seconds: float) -> None:
        """Wait, less if a report is asked for; count slices of the evaluations meanwhile."""
        due = time.monotonic() + seconds
        while not self._wake.is_set() and (left := due - time.monotonic()) > 0:
            length = ROUND_SECONDS * RANDOM.uniform(0.5, 1.5)
            self._follower.evaluations.observe(self._wake.wait, min(left, length))

    def _end_flushes(self, count: int) -> None:
        """Let the threads go on that have waited longest for a report."""
        for _ in range(count):
            self._flushes.popleft().set()

    def _save_flags(self) -> None:
        flags = self._follower.flags
        if self._file is None or flags is None or flags is self._saved:
            return
        if self._follower.missing:
            return  # the file keeps the last flags that were complete
        self._saved = flags
        try:
            self._file.save_key_sets(whole_key_sets(flags))
            self._file.save(wire.encode_snapshot(flags.snapshot))
        except Exception:
            # A bug in the SDK must not end the thread: no report would be sent any more.
            log.warning("cannot cache the flags", exc_info=True)

    def _report(self, leaving: bool = False) -> bool:
        try:
            acknowledged = self._follower.send_report(leaving)
        except Rejected as rejected:
            self._warn_once(rejected.kind, rejected.reason or "it gives no reason")
            return False
        except Unreachable as error:
            if isinstance(error, Refused):
                self._warn_once(error.kind)  # such as a proxy that lets only the flags through
            else:
                self.problem = error.kind
            return False
        except Exception as error:
            self.problem = f"an unexpected {type(error).__name__}"
            log.debug("a report failed", exc_info=True)
            return False
        if acknowledged:
            self._warned_of = self.problem = None
        return acknowledged

    def _warn_once(self, kind: str, reason: str = "") -> None:
        """Log why the server does not accept the reports, but not again for each of them."""
        self.problem = f"{kind}: {reason}" if reason else kind
        if kind != self._warned_of:
            self._warned_of = kind
            log.warning("the server does not accept reports (%s): %s", kind, reason or NOT_LOST)
