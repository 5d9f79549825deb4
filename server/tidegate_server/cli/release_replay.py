"""`tidegate release replay`: recompute a ledger, and print where it differs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tidegate_server.cli.api_client import ApiClient, Json
from tidegate_server.cli.exit_codes import NOT_REACHED
from tidegate_server.cli.formatting import count, instant
from tidegate_server.cli.output import TABLE, Columns, print_json, print_list, print_text

TOTALS = ("entries", "decisions", "skipped", "moves", "differing")
MAX_SHOWN = 20
PAGE_SIZE = "1000"
"""Decisions per request: many enough to be fast, few enough to be answered in time."""

COLUMNS: Columns = {
    "decision": "window",
    "at": lambda each: instant(each["at"]),
    "field": "field",
    "in the ledger": lambda each: _value(each["recorded"]),
    "recomputed": lambda each: _value(each["recomputed"]),
}

Advance = Callable[[int, int], None]


def replay(client: ApiClient, release: Json, *, as_json: bool) -> int:
    """Replay the ledger of a release and print the result; returns the exit status."""
    path = client.environment_path("releases", release["id"], "replay")
    with _progress(release["id"]) as advance:
        result = _replay_all(client, path, advance)
    if as_json:
        print_json({"release": release["id"], **result})
    else:
        _print_result(release["id"], result)
    none_recomputed = result["entries"] > 0 and result["decisions"] == 0
    return 0 if result["agrees"] and not none_recomputed else NOT_REACHED


def _replay_all(client: ApiClient, path: str, advance: Advance) -> Json:
    result: Json = {"agrees": True, "ledger": 0, **dict.fromkeys(TOTALS, 0), "differences": []}
    cursor = ""
    while cursor is not None:
        query = {"limit": PAGE_SIZE, **({"cursor": cursor} if cursor else {})}
        page = client.get(path, **query).body
        for name in TOTALS:
            result[name] += page[name]
        result["ledger"] = page["ledger"]
        result["agrees"] &= page["agrees"]
        result["differences"] += page["differences"]
        advance(result["entries"], result["ledger"])
        cursor = page["next_cursor"]
    return result


def _print_result(release_id: str, result: Json) -> None:
    if not result["entries"]:
        return print_text(f"Release {release_id}: no decisions yet.")
    decisions = count(result["decisions"], "decision")
    notes = ""
    if result["moves"]:
        notes += f" Users acted on the release {count(result['moves'], 'time')} in between."
    if result["skipped"]:
        entries = f"{result['skipped']:,} {'entry' if result['skipped'] == 1 else 'entries'}"
        notes += f" Skipped {entries} without an earlier checkpoint."
    if result["agrees"]:
        return print_text(
            f"Release {release_id}: recomputed {decisions}; all agree with the ledger.{notes}"
        )
    print_text(
        f"Release {release_id}: recomputed {decisions}; {result['differing']:,} "
        f"{'differs' if result['differing'] == 1 else 'differ'} from the ledger.{notes}"
    )
    differences = result["differences"]
    print_list(differences[:MAX_SHOWN], COLUMNS, TABLE)
    if len(differences) > MAX_SHOWN:
        print_text(f"and {len(differences) - MAX_SHOWN:,} more; see --output json.")
    return None


def _value(value: object) -> str:
    return "-" if value is None else repr(value) if isinstance(value, float) else str(value)


@contextmanager
def _progress(release_id: str) -> Iterator[Advance]:
    """Show a progress bar on standard error if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"replaying {release_id}", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=max(done, total))
