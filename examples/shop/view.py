"""Output of the quickstart: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from examples.shop.admin import Arm, ReleaseStatus

PANELS_HEIGHT = 20
"""Lines for both releases and the traffic; the events get the rest of the terminal."""
STATUS_EVERY = 10.0
"""Seconds between two status lines without a live view."""

COLOURS = {
    "running": "cyan",
    "baking": "green",
    "completed": "bold green",
    "rolled_back": "bold yellow",
    "holding": "yellow",
    "paused": "yellow",
    "killed": "bold red",
}


@dataclass(frozen=True, slots=True)
class Progress:
    """What a view shows besides events: the releases and the traffic."""

    releases: Sequence[ReleaseStatus]
    requests: int
    requests_per_second: float
    lost: int


class View(Protocol):
    """Output for events and progress."""

    def __enter__(self) -> View: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def event(self, text: str) -> None:
        """Show that something happened."""

    def say(self, text: str) -> None:
        """Show something that stays in sight, whole, however long it is."""

    def show(self, progress: Progress) -> None:
        """Show the current progress."""


def view_for(console: Console) -> View:
    """Return the live view on a terminal, plain lines elsewhere."""
    return LiveView(console) if console.is_terminal else PlainView()


class PlainView:
    """Lines of text: every event, and the progress every ten seconds."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._shown = self._began

    def __enter__(self) -> PlainView:
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()

    def event(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:6.1f} s  {text}", flush=True)

    def say(self, text: str) -> None:
        self.event(text)

    def show(self, progress: Progress) -> None:
        if time.monotonic() - self._shown < STATUS_EVERY:
            return
        self._shown = time.monotonic()
        for release in progress.releases:
            if not release.ended:
                self.event(status_line(release))
        self.event(traffic_line(progress))


class LiveView:
    """A live view of both releases, with the latest events below."""

    def __init__(self, console: Console) -> None:
        self._began = time.monotonic()
        self._events: list[str] = []
        self._progress: Progress | None = None
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=False)

    def __enter__(self) -> LiveView:
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def event(self, text: str) -> None:
        self._events.append(f"{time.monotonic() - self._began:6.1f} s  {text}")
        self._draw()

    def say(self, text: str) -> None:
        # Above the live view, and as one line, so that a terminal makes a link of it.
        self._console.print(f"\n{text}\n", soft_wrap=True, highlight=False, markup=False)

    def show(self, progress: Progress) -> None:
        self._progress = progress
        self._draw()

    def _draw(self) -> None:
        parts: list[RenderableType] = []
        if self._progress is not None:
            parts += [release_panel(release) for release in self._progress.releases]
            parts.append(Text(traffic_line(self._progress), style="dim"))
        room = max(3, self._console.height - PANELS_HEIGHT)
        parts += [Text(event, no_wrap=True) for event in self._events[-room:]]
        self._live.update(Group(*parts), refresh=True)


def release_panel(release: ReleaseStatus) -> Panel:
    """Return one release: its stage, its counts and its evidence."""
    colour = COLOURS.get(release.state, "white")
    where = Table.grid(padding=(0, 2))
    where.add_row(
        Text(release.state.replace("_", " "), style=colour),
        f"stage {release.stage} of {release.stages}: {release.audience}",
        ProgressBar(total=100.0, completed=open_share(release), width=24),
    )

    arms = Table(box=None, padding=(0, 2), header_style="dim")
    for heading in ("", "exposures", "operations", "errors", "error rate", "failing users"):
        arms.add_column(heading, justify="left" if not heading else "right")
    for name, arm in (("control", release.control), ("treatment", release.treatment)):
        arms.add_row(
            name,
            f"{arm.exposures:,}",
            f"{arm.outcomes:,}",
            f"{arm.errors:,}",
            error_rate(arm),
            f"{arm.failing:,}",
        )

    verdict = Table.grid(padding=(0, 2))
    verdict.add_row("evidence of harm", harm(release))
    verdict.add_row("evidence of safety", safety(release))
    verdict.add_row("last decision", release.decision)
    return Panel(
        Group(where, arms, verdict),
        title=release.flag,
        title_align="left",
        border_style=colour,
    )


def open_share(release: ReleaseStatus) -> float:
    """Return the open percentage; an ended release is open to everyone or nobody."""
    return {"completed": 100.0, "rolled_back": 0.0}.get(release.state, release.percentage)


def status_line(release: ReleaseStatus) -> str:
    """Return one release on one line."""
    return (
        f"{release.flag}: {release.state}, {release.audience}; "
        f"error rate: control {error_rate(release.control)}, "
        f"treatment {error_rate(release.treatment)}; "
        f"evidence of harm {harm(release)}, evidence of safety {safety(release)}"
    )


def traffic_line(progress: Progress) -> str:
    """Return the traffic of the shop on one line."""
    lost = f", {progress.lost:,} unanswered" if progress.lost else ""
    per_second = f"{progress.requests_per_second:,.0f} per second"
    return f"traffic: {progress.requests:,} requests, {per_second}{lost}"


def error_rate(arm: Arm) -> str:
    """Return an error rate in percent."""
    return "-" if arm.error_rate is None else f"{100 * arm.error_rate:.2f} %"


def count(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 user``, ``2 users``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def harm(release: ReleaseStatus) -> str:
    """Return the evidence of harm and its limit."""
    return with_limit(release.evidence, "rolls back at", release.rollback_at)


def safety(release: ReleaseStatus) -> str:
    """Return the evidence of safety and its limit."""
    return with_limit(release.advance, "advances at", release.advance_at)


def with_limit(value: float | None, effect: str, limit: float | None) -> str:
    """Return evidence and its limit: ``1,155 (rolls back at 200)``."""
    if value is None:
        return "none"
    return amount(value) if limit is None else f"{amount(value)} ({effect} {limit:,g})"


def amount(value: float) -> str:
    """Return a number of any size in a few characters."""
    if value >= 1e6:
        return f"{value:.0e}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
