"""The thread that reads the key sets that the flags wait for.

Updates do not wait for it: a kill takes effect while a key set is on its way, or cannot be read.

Threads: ``tidegate-keys`` runs ``_read_until_complete`` while something is missing, then it ends.
Its start, and its decision to end, are made under ``updating``, which whoever updates the flags
holds.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from tidegate.backoff import Backoff
from tidegate.errors import Unreachable, WireError
from tidegate.evaluation.compiled_snapshot import CompiledSnapshot
from tidegate.flag_follower import FlagFollower
from tidegate.model import InKeySet
from tidegate.runtime import threads

log: logging.Logger = logging.getLogger("tidegate")

RETRY = Backoff(first_s=1.0, longest_s=30.0, jitter=0.5)


class KeySetThread:
    """Reads missing key sets, again and again until none is missing.

    Args:
        follower: knows what is missing, and reads it.
        updating: held while flags are updated.
        apply: puts flags in force; called under ``updating``.

    Attributes:
        problem: why key sets are missing; None while none is.
    """

    def __init__(
        self,
        follower: FlagFollower,
        updating: threading.Lock,
        apply: Callable[[CompiledSnapshot], None],
    ) -> None:
        self._follower = follower
        self._updating = updating
        self._apply = apply
        self._stopping = False
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._running = False
        self._wanted: frozenset[str] = frozenset()
        self.problem: str | None = None

    def read_once(self) -> None:
        """Try once to read each missing key set, in this thread."""
        for wanted in list(self._follower.missing.values()):
            if not self._read(wanted):
                return

    def start_if_needed(self) -> None:
        """Start the thread if a key set is missing; a new one is read at once."""
        with self._updating:
            wanted = self._follower.missing.keys()
            is_new = not self._wanted.issuperset(wanted)
            self._wanted = frozenset(wanted)
            if not wanted:
                self.problem = None
            elif not self._stopping:
                self.problem = self.problem or "the keys of a segment are on their way"
                if is_new:
                    self._wake.set()
                if not self._running:
                    self._start()

    def ask_to_stop(self) -> None:
        """Let the thread end; returns immediately."""
        self._stopping = True
        self._wake.set()

    def join(self, deadline: float) -> bool:
        """Wait for the end of the thread, after ``ask_to_stop``; return whether it has ended."""
        return threads.join(self._thread, deadline)

    def _start(self) -> None:
        self._running = True
        try:
            self._thread = threads.start("tidegate-keys", self._read_until_complete)
        except RuntimeError:
            # There are too many threads, or (since Python 3.12) the main one has ended. The next
            # update tries again.
            self._running = False
            log.debug("no thread can be started to read key sets", exc_info=True)

    def _read_until_complete(self) -> None:
        failures = 0
        while True:
            self._wake.clear()
            with self._updating:
                missing = list(self._follower.missing.values())
                if not missing or self._stopping:
                    self._running = False
                    return
            read = [self._read(wanted) for wanted in missing if not self._stopping]
            failures = 0 if all(read) else failures + 1
            if failures:
                self._wake.wait(RETRY.wait_s(failures))

    def _read(self, wanted: InKeySet) -> bool:
        """Read a key set and put it in force; return whether it came."""
        try:
            keys = self._follower.read_key_set(wanted)
        except (Unreachable, WireError) as error:
            self._fail(wanted, str(error))
            return False
        except Exception as error:
            # A bug in the SDK must not end the thread: the segment would stay old for ever.
            log.debug("a key set cannot be read", exc_info=True)
            self._fail(wanted, f"an unexpected {type(error).__name__}")
            return False
        with self._updating:
            flags = self._follower.take_key_set(keys)
            if flags is not None:
                self._apply(flags)
            if not self._follower.missing:
                if self.problem is not None:
                    log.info("the keys of all segments are up to date")
                self.problem = None
        return True

    def _fail(self, wanted: InKeySet, reason: str) -> None:
        if self._stopping:
            return
        problem = f"the {wanted.count:,} uploaded keys of a segment cannot be read: {reason}"
        if problem != self.problem:
            log.warning("%s; what uses them stays as it was", problem)
        self.problem = problem
