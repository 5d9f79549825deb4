"""Runs a drill from start to end."""

from __future__ import annotations

import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tidegate_server.drill.cuts import Cut
from tidegate_server.drill.demo import WORKERS, Demo, NotInTime, Stopped
from tidegate_server.drill.exercise import count_operations, run_cut
from tidegate_server.drill.words import count_lines, outcome_lines
from tidegate_server.errors import ServerRefused, ServerUnreachable

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(
    cuts: Sequence[Cut], seconds: float, say: Callable[[str], None], complain: Callable[[str], None]
) -> bool | None:
    """Run a drill.

    Args:
        cuts: what to cut, in this order.
        seconds: how long each cut lasts.
        say: prints a line.
        complain: prints what else went wrong.

    Returns:
        Whether everything held; None if a signal ended the drill.
    """
    with (
        tempfile.TemporaryDirectory(prefix="tg-drill-", ignore_cleanup_errors=True) as folder,
        _stopped_by_signals() as stopping,
    ):
        demo = Demo(Path(folder), stopping)
        try:
            return _run(demo, cuts, seconds, say)
        except Stopped:
            say("Stopped.")
            return None
        except (NotInTime, ServerRefused, ServerUnreachable) as failure:
            complain(f"The drill did not come to its end: {failure}\n{demo.log_ends()}")
            return False
        finally:
            demo.stop()


def _run(demo: Demo, cuts: Sequence[Cut], seconds: float, say: Callable[[str], None]) -> bool:
    say("Starting a server with its store and policy job, and an application.")
    demo.start()
    say(
        f"The server is {demo.url}. The application has {WORKERS} forked workers, which evaluate\n"
        "flags all the time; a flag changes several times a second, and a release is running."
    )
    held = True
    for number, cut in enumerate(cuts, 1):
        outcome = run_cut(demo, cut, seconds)
        say("\n" + "\n".join(outcome_lines(number, outcome)))
        held = held and not outcome.failures
    demo.changes.stop()
    count = count_operations(demo)
    say("\n" + "\n".join(count_lines(count)))
    held = held and count.agrees
    say("\nAll held." if held else "\nNot all held: see FAILED above.")
    return held


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """Set an event when a signal asks this process to end."""
    stopping = threading.Event()
    before = {number: signal.signal(number, lambda *_: stopping.set()) for number in SIGNALS}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
