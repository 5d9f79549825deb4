"""Makes one cut after another, and compares what was seen with what must hold."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from tidegate_server.drill.changes import lost
from tidegate_server.drill.cuts import Cut
from tidegate_server.drill.demo import Demo, NotInTime
from tidegate_server.drill.journals import Seen
from tidegate_server.errors import ServerRefused, ServerUnreachable

SLOWEST_SECONDS = 1.0
"""No evaluation may take longer: one that waited for a part that was cut would take longer."""

RECOVERY_SECONDS = 90.0
"""How long each part may take to work again after a cut. An SDK that has been refused for long asks
again after up to half a minute."""

COUNT_SECONDS = 30.0
"""How long the server may take to count the last reports."""

NEVER = datetime.fromtimestamp(0, UTC)


@dataclass(slots=True)
class Outcome:
    """What came of one cut.

    Attributes:
        cut: what was cut.
        lasted: how long, in seconds.
        seen: what the workers of the application saw, from the cut until changes arrived again.
        refused: changes that the server refused or did not answer.
        acknowledged: changes that the server acknowledged, from the start of the drill.
        back: seconds from the end of the cut until changes arrived in every worker.
        kill: seconds from asking for a kill until every worker had it.
        decided: seconds from the end of the cut until the policy job had evaluated the release.
        failures: what did not hold, as sentences; empty: all held.
    """

    cut: Cut
    lasted: float = 0.0
    seen: Seen | None = None
    refused: int = 0
    acknowledged: int = 0
    back: float | None = None
    kill: float | None = None
    decided: float | None = None
    failures: list[str] = field(default_factory=list)


def run_cut(demo: Demo, cut: Cut, seconds: float) -> Outcome:
    """Make a cut for some time, end it, and see whether everything works again.

    Raises:
        Stopped: somebody asked the drill to stop.
    """
    outcome = Outcome(cut)
    refused = demo.changes.refused
    start = time.monotonic()
    cut.make(demo)
    demo.wait(seconds)
    try:
        cut.end(demo)
        end = time.monotonic()
        outcome.lasted = end - start
        _see_recovery(demo, outcome, start, end)
    except NotInTime as failure:
        outcome.failures.append(f"{failure}.")
    outcome.refused = demo.changes.refused - refused
    outcome.seen = demo.journals.seen(start, time.monotonic())
    outcome.failures += _failures(outcome.seen)
    return outcome


def _see_recovery(demo: Demo, outcome: Outcome, start: float, end: float) -> None:
    """Wait until changes, a kill and decisions arrive again."""
    ended_at = datetime.now(UTC)
    before = demo.changes.latest
    demo.wait_for(
        "changes arrive again",
        lambda: demo.changes.latest > before and demo.journals.all_reach(before + 1),
        RECOVERY_SECONDS,
    )
    recovered = time.monotonic()
    outcome.back = recovered - end
    outcome.kill = _time_a_kill(demo)
    demo.wait_for(
        "the policy job evaluates the release again",
        lambda: _evaluated_at(demo) > ended_at,
        RECOVERY_SECONDS,
    )
    outcome.decided = (_evaluated_at(demo) - ended_at).total_seconds()
    outcome.acknowledged, missing = _compare(demo)
    outcome.failures += missing


def _time_a_kill(demo: Demo) -> float:
    """Kill a flag; return the seconds until every worker has it off. Then restore it."""
    asked = 0.0

    def kill() -> bool:
        nonlocal asked
        asked = time.monotonic()
        return _answers(demo.api.kill)

    demo.wait_for("a kill is acknowledged", kill, RECOVERY_SECONDS)
    demo.wait_for("the kill arrives", lambda: demo.journals.all_killed(True), RECOVERY_SECONDS)
    arrived = demo.journals.killed_since(asked)
    demo.wait_for(
        "the restore is acknowledged", partial(_answers, demo.api.restore), RECOVERY_SECONDS
    )
    demo.wait_for("the restore arrives", lambda: demo.journals.all_killed(False), RECOVERY_SECONDS)
    return arrived - asked


def _answers(request: Callable[[], object]) -> bool:
    try:
        request()
    except (ServerRefused, ServerUnreachable):
        return False
    return True


def _evaluated_at(demo: Demo) -> datetime:
    """Return when the policy job last evaluated the release; long ago if it cannot be said."""
    try:
        progress = demo.api.release(demo.release)["progress"]
    except (ServerRefused, ServerUnreachable):
        return NEVER
    return NEVER if progress is None else datetime.fromisoformat(progress["evaluated_at"])


def _compare(demo: Demo) -> tuple[int, list[str]]:
    """Return how many changes were acknowledged, and what the store lacks of them."""
    acknowledged = list(demo.changes.acknowledged)
    failures = []
    missing = lost(acknowledged, demo.api.numbers_in_the_audit_log(), demo.api.number())
    if missing:
        failures.append(f"{len(missing)} acknowledged changes are lost, the first is {missing[0]}.")
    if problem := demo.api.problem_of_the_audit_log():
        failures.append(f"The audit log is broken: {problem}")
    return len(acknowledged), failures


def _failures(seen: Seen) -> list[str]:
    failures = []
    if not seen.answered:
        failures.append("The application got no answer at all.")
    if seen.errors:
        failures.append(f"{seen.errors:,} evaluations gave the default of the application.")
    if seen.slowest > SLOWEST_SECONDS:
        failures.append(f"An evaluation took {seen.slowest:.1f} s; the limit is 1 s.")
    return failures


@dataclass(frozen=True, slots=True)
class Count:
    """Operations with the release that ended in the application, and that the server counted."""

    ended: int
    counted: int

    @property
    def agrees(self) -> bool:
        """Whether none is lost and none was counted twice."""
        return self.ended == self.counted


def count_operations(demo: Demo) -> Count:
    """Let the application report what it did, and compare this with what the server has counted.

    Raises:
        NotInTime: the application goes on.
        Stopped: somebody asked the drill to stop.
    """
    ended = demo.stop_operations()
    with suppress(NotInTime):
        demo.wait_for("everything is counted", lambda: _counted(demo) >= ended, COUNT_SECONDS)
    return Count(ended, _counted(demo))


def _counted(demo: Demo) -> int:
    try:
        progress = demo.api.release(demo.release)["progress"]
    except (ServerRefused, ServerUnreachable):
        return 0
    return int(progress["control"]["outcomes"] + progress["treatment"]["outcomes"])
