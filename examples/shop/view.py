"""How the story is shown: a live view on a terminal, plain lines elsewhere."""

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

from examples.shop.admin import Arm, ReleaseNow

PANELS_HEIGHT = 20
"""Lines that both releases and the traffic take; the events get the rest of the terminal."""
STATUS_EVERY = 10.0
"""Seconds between two status lines where there is no live view."""

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
class Scene:
    """All that the view shows at one moment."""

    releases: Sequence[ReleaseNow]
    requests: int
    requests_per_second: float
    lost: int


class View(Protocol):
    """Where the story is told."""

    def __enter__(self) -> View: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def event(self, text: str) -> None:
        """Something happened."""

    def show(self, scene: Scene) -> None:
        """This is how things stand."""


def view_for(console: Console) -> View:
    """The live view on a terminal, plain lines elsewhere."""
    return LiveView(console) if console.is_terminal else PlainView()


class PlainView:
    """Lines of text: every event, and how things stand every ten seconds."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._shown = self._began

    def __enter__(self) -> PlainView:
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()

    def event(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:6.1f} s  {text}", flush=True)

    def show(self, scene: Scene) -> None:
        if time.monotonic() - self._shown < STATUS_EVERY:
            return
        self._shown = time.monotonic()
        for release in scene.releases:
            if not release.ended:
                self.event(status_line(release))
        self.event(traffic_line(scene))


class LiveView:
    """A picture of both releases that is drawn anew twice a second."""

    def __init__(self, console: Console) -> None:
        self._began = time.monotonic()
        self._events: list[str] = []
        self._scene: Scene | None = None
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

    def show(self, scene: Scene) -> None:
        self._scene = scene
        self._draw()

    def _draw(self) -> None:
        parts: list[RenderableType] = []
        if self._scene is not None:
            parts += [release_panel(release) for release in self._scene.releases]
            parts.append(Text(traffic_line(self._scene), style="dim"))
        room = max(3, self._console.height - PANELS_HEIGHT)
        parts += [Text(event, no_wrap=True) for event in self._events[-room:]]
        self._live.update(Group(*parts), refresh=True)


def release_panel(release: ReleaseNow) -> Panel:
    """One release: where it stands, what was counted, what the evidence says."""
    colour = COLOURS.get(release.state, "white")
    where = Table.grid(padding=(0, 2))
    where.add_row(
        Text(release.state.replace("_", " "), style=colour),
        f"stage {release.stage} of {release.stages}: {release.audience}",
        ProgressBar(total=100.0, completed=open_share(release), width=24),
    )

    arms = Table(box=None, padding=(0, 2), header_style="dim")
    for heading in ("", "exposures", "operations", "errors", "error rate", "users who failed"):
        arms.add_column(heading, justify="left" if not heading else "right")
    for name, arm in (("control", release.control), ("treatment", release.treatment)):
        arms.add_row(
            name,
            f"{arm.exposures:,}",
            f"{arm.outcomes:,}",
            f"{arm.errors:,}",
            rate(arm),
            f"{arm.failing:,}",
        )

    verdict = Table.grid(padding=(0, 2))
    verdict.add_row("evidence against it", against(release.evidence, release.rollback_at))
    verdict.add_row("evidence to advance", against(release.advance, release.advance_at))
    verdict.add_row("last decision", release.decision)
    return Panel(
        Group(where, arms, verdict),
        title=release.flag,
        title_align="left",
        border_style=colour,
    )


def open_share(release: ReleaseNow) -> float:
    """How far the bar goes; a release that is over has everyone or nobody."""
    return {"completed": 100.0, "rolled_back": 0.0}.get(release.state, release.percentage)


def status_line(release: ReleaseNow) -> str:
    """One release in one line."""
    return (
        f"{release.flag}: {release.state}, {release.audience}; "
        f"exposures {release.control.exposures:,} / {release.treatment.exposures:,}, "
        f"errors {rate(release.control)} / {rate(release.treatment)} (control / treatment); "
        f"against it {against(release.evidence, release.rollback_at)}, "
        f"to advance {against(release.advance, release.advance_at)}"
    )


def traffic_line(scene: Scene) -> str:
    """How much the shop has to do."""
    lost = f", {scene.lost:,} without an answer" if scene.lost else ""
    return f"traffic: {scene.requests:,} requests, {scene.requests_per_second:,.0f} a second{lost}"


def rate(arm: Arm) -> str:
    """An error rate for reading."""
    return "-" if arm.error_rate is None else f"{arm.error_rate:.2%}"


def against(value: float | None, limit: float | None) -> str:
    """An amount of evidence beside its limit."""
    if value is None:
        return "none yet"
    return f"{amount(value)} of {amount(limit)}" if limit is not None else amount(value)


def amount(value: float) -> str:
    """A number between nothing and very much in a few characters."""
    if value >= 1e6:
        return f"{value:.0e}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
