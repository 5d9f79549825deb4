"""Changes that a thread makes all the time, and which of them were acknowledged."""

from __future__ import annotations

import threading

from tidegate_server.drill.api import Api
from tidegate_server.errors import ServerRefused, ServerUnreachable

PAUSE_SECONDS = 0.1


class Changes:
    """Numbers a flag, one number after another, until it is stopped.

    Only its thread writes ``acknowledged``, a list that only grows, and the counts.

    Args:
        api: the server.
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="drill-changes", daemon=True)
        self.acknowledged: list[int] = []
        self.refused = 0
        self.asked = 0

    def start(self) -> None:
        """Start to make changes."""
        self._thread.start()

    def stop(self) -> None:
        """Make no more changes; a running request may take its time first."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def latest(self) -> int:
        """The number that was acknowledged last; 0: none yet."""
        return self.acknowledged[-1] if self.acknowledged else 0

    def _run(self) -> None:
        while not self._stop.is_set():
            self.asked += 1
            try:
                self._api.set_number(self.asked)
            except (ServerRefused, ServerUnreachable):
                self.refused += 1
            else:
                self.acknowledged.append(self.asked)
            self._stop.wait(PAUSE_SECONDS)


def lost(acknowledged: list[int], in_the_log: list[int], present: int) -> list[int]:
    """Return which acknowledged numbers are missing.

    Args:
        acknowledged: what the server acknowledged, in order.
        in_the_log: the numbers in the audit log.
        present: the number that the flag has.
    """
    missing = set(acknowledged) - set(in_the_log)
    if acknowledged and present < acknowledged[-1]:
        missing.add(acknowledged[-1])
    return sorted(missing)
