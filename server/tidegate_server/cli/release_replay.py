"""`tidegate release replay`: stretch by stretch, until the ledger's end or its differences."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tidegate_server.cli.api_client import Json, Server
from tidegate_server.cli.exit_codes import NOT_SEEN
from tidegate_server.cli.formatting import instant
from tidegate_server.cli.output import print_json, print_table, say

COUNTED = ("entries", "decisions", "skipped", "moves", "differing")
MOST_SHOWN = 20
STRETCH = "1000"
"""Decisions asked for at once: enough to be quick, few enough to be answered in time."""

Advance = Callable[[int, int], None]


def replay(server: Server, found: Json, *, as_json: bool) -> int:
    """Have a release's ledger replayed and show what came of it; returns the exit status."""
    at = server.environment_path("releases", found["id"], "replay")
    with _progress(found["id"]) as advance:
        total = _all_stretches(server, at, advance)
    if as_json:
        print_json({"release": found["id"], **total})
    else:
        _tell(found["id"], total)
    return 0 if total["agrees"] and not _vain(total) else NOT_SEEN


def _all_stretches(server: Server, at: str, advance: Advance) -> Json:
    total: Json = {"agrees": True, "ledger": 0, **dict.fromkeys(COUNTED, 0), "differences": []}
    cursor = ""
    while cursor is not None:
        query = {"limit": STRETCH, **({"cursor": cursor} if cursor else {})}
        stretch = server.ask(at, **query)
        for name in COUNTED:
            total[name] += stretch[name]
        total["ledger"] = stretch["ledger"]
        total["agrees"] &= stretch["agrees"]
        total["differences"] += stretch["differences"]
        advance(total["entries"], total["ledger"])
        cursor = stretch["next_cursor"]
    return total


def _vain(total: Json) -> bool:
    """Whether there are entries, and none of them could be computed again."""
    return bool(total["entries"]) and not total["decisions"]


def _tell(release_id: str, total: Json) -> None:
    if not total["entries"]:
        return say(f"Release {release_id}: the policy job has not decided anything yet.")
    skipped = (
        f" {total['skipped']:,} entries without a checkpoint before them could not be computed."
        if total["skipped"]
        else ""
    )
    moved = f" People moved it {total['moves']:,} times in between." if total["moves"] else ""
    if total["agrees"]:
        return say(
            f"Release {release_id}: {total['decisions']:,} decisions computed again, all agree "
            f"to the last digit.{moved}{skipped}"
        )
    say(
        f"Release {release_id}: {total['differing']:,} of {total['decisions']:,} decisions "
        f"differ from the ledger.{moved}{skipped}"
    )
    differences = total["differences"]
    print_table(
        ("decision", "at", "field", "in the ledger", "computed again"),
        [
            (
                each["window"],
                instant(each["at"]),
                each["field"],
                _value(each["recorded"]),
                _value(each["recomputed"]),
            )
            for each in differences[:MOST_SHOWN]
        ],
    )
    if len(differences) > MOST_SHOWN:
        say(f"and {len(differences) - MOST_SHOWN:,} more; --output json has them.")
    return None


def _value(value: object) -> str:
    return "-" if value is None else repr(value) if isinstance(value, float) else str(value)


@contextmanager
def _progress(release_id: str) -> Iterator[Advance]:
    """A bar on standard error, for people only."""
    if not sys.stderr.isatty():
        yield lambda done, of: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"replaying {release_id}", total=None)
        yield lambda done, of: bar.update(task, completed=done, total=max(done, of))
