"""How often an application asks for each flag, and which variants it gets.

To count every evaluation would cost each of them. So a flag's evaluations are counted one by one
until there were ``COUNTED`` of them. After that they are counted only in short, random slices of
time, and a count in a slice stands for the whole time around it (a Horvitz-Thompson estimate).
Every ``RENEW_SECONDS`` each flag is counted one by one again. So the count of a flag that is rarely
asked is exact, and that of a busy flag is an estimate. An evaluation that is not counted costs
nothing: it finds the flag's own function in the client's table, instead of one that counts.

Evaluations of the longer way (``Client._details``) are always counted.

Threads: any thread may count. A cell is an ``itertools.count``, whose step no other thread can
interrupt. ``observe`` is called by one thread; ``_lock`` guards the totals and is never taken by
an evaluation.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from tidegate.runtime.late_imports import load

if TYPE_CHECKING:
    from tidegate.context import Context
    from tidegate.evaluation.compiled_snapshot import ReadyFlag
    from tidegate.evaluation.results import Evaluation

COUNTED = 200
"""How many evaluations of a flag are counted one by one before only slices are."""

RENEW_SECONDS = 10.0
"""How often every flag is counted one by one again."""

RENEWED_AT_ONCE = 50
"""How many flags are renewed without a pause: a tenth of a millisecond's work."""

PAUSE_SECONDS = 0.0001
"""In a pause another thread gets the interpreter at once."""

REPORT_SECONDS = 30.0
"""How often the server learns of more evaluations of a flag that it knows to be used."""

ROUND_SECONDS = 1.0
"""The mean time between two slices."""

SLICE = 1 / 64
"""Which part of the time the slices take."""

MAX_SLICED = 256
"""How many flags are counted in one slice; of more, a random choice."""

MAX_FLAGS = 10_000
"""How many flags are counted; others are left out."""

MAX_VARIANTS = 1_000
"""How many variants of one flag are counted; others are left out."""

MAX_UNKNOWN = 200
"""How many of the flags that the server does not have are counted."""

EVALUATIONS = "evaluations"
"""The field of reports that has the counts."""

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
MARKS = "._-"
LONGEST_KEY = 100
"""What the key of a flag consists of. No flag has another name, so none is counted."""

LARGEST_TOTAL = 10**12

_Tables: TypeAlias = "tuple[dict[str, ReadyFlag], ...]"


class FlagTotals(msgspec.Struct, frozen=True):
    """How often one flag was evaluated since the instance started.

    Attributes:
        variants: the evaluations by variant.
        defaults: those that gave the application its own default.
        estimated: whether some were counted in slices only.
    """

    variants: dict[str, int]
    defaults: int
    estimated: bool


class _Cell(msgspec.Struct, eq=False):
    """Counts evaluations to one variant; ``reads`` are the reader's own steps."""

    steps: count[int] = msgspec.field(default_factory=count)
    reads: int = 0
    seen: int = 0

    def added(self) -> int:
        """Return how many evaluations were counted since the last call."""
        total = next(self.steps) - self.reads
        self.reads += 1
        added, self.seen = total - self.seen, total
        return added


_Cells: TypeAlias = dict["str | None", _Cell]
"""By variant; None: the application's own default."""


class _Flag(msgspec.Struct, eq=False):
    """One flag's counts.

    Attributes:
        single: what is counted one by one.
        sliced: what is counted in slices.
        totals: the sums, which slices make fractions of.
        left: its step says how many evaluations were counted one by one since the last renewal.
        uncounted_since: since when not every evaluation is counted, by the monotonic clock; None:
            every one is.
        in_slice: whether a slice is being counted now.
        estimated: whether a slice was ever counted.
    """

    single: _Cells = msgspec.field(default_factory=dict)
    sliced: _Cells = msgspec.field(default_factory=dict)
    totals: dict[str | None, float] = msgspec.field(default_factory=dict)
    left: count[int] = msgspec.field(default_factory=lambda: count(1))
    uncounted_since: float | None = None
    in_slice: bool = False
    estimated: bool = False

    def collect(self, cells: _Cells, weight: float = 1.0) -> None:
        """Add what these cells counted since the last call to the totals."""
        for variant, cell in list(cells.items()):
            if added := cell.added():
                self.totals[variant] = self.totals.get(variant, 0.0) + added * weight

    def whole(self) -> FlagTotals:
        """Return the totals in whole numbers."""
        whole = {
            variant: min(int(total + 0.5), LARGEST_TOTAL) for variant, total in self.totals.items()
        }
        defaults = whole.pop(None, 0)
        variants = {variant: total for variant, total in whole.items() if variant and total}
        return FlagTotals(variants, defaults, self.estimated)


class EvaluationCounts:
    """The evaluations of one instance, by flag and variant."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tables: _Tables = ()
        self._flags: dict[str, _Flag] = {}
        # The variant that a flag gave at first. Most clients without a server have no more to
        # count, and a ``_Flag`` for each flag would take a sixth of their memory.
        self._first: dict[str, tuple[str | None]] = {}
        self._unknown: set[str] = set()
        self._acknowledged: dict[str, FlagTotals] = {}
        self._observing = False
        self._renewed = 0.0
        self._changed_at = 0.0

    # What the client calls

    def count(self, key: object, variant: str | None, *, known: bool = True) -> None:
        """Count one evaluation.

        Args:
            key: the flag that was asked for, whatever the application gave.
            variant: what it served; None: the application's own default.
            known: whether the server has the flag.
        """
        if known and not self._observing and isinstance(key, str) and key not in self._flags:
            first = (variant,)
            if len(self._first) < MAX_FLAGS and self._first.setdefault(key, first) is first:
                return
        flag = self._flag(key, known)
        if flag is not None:
            _step(flag.single, variant)

    def count_next(self, key: str) -> None:
        """Count the evaluations of a flag that may be new in the client's tables."""
        flag = self._flags.get(key)
        if not self._observing or flag is None or flag.uncounted_since is not None:
            return
        self._unknown.discard(key)
        for table in self._tables:
            entry = table.get(key)
            if entry is not None and not hasattr(entry[0], "uncounted"):
                table[key] = self._counting(key, flag, entry)

    def use(self, tables: _Tables) -> None:
        """Count the evaluations that read these tables from now on."""
        before, self._tables = self._tables, tables
        if not self._observing:
            return
        for number, table in enumerate(tables):
            known = before[number] if before else table
            if known is table:
                continue
            # The flags that changed have another entry, which does not count.
            for key in [key for key, entry in table.items() if known.get(key) is not entry]:
                self.count_next(key)

    # What the thread that reports calls

    def begin(self) -> None:
        """Count what is evaluated from now on: it will be reported."""
        self._observing = True
        self._count_first()
        self._renew()

    def observe(self, wait: Callable[[float], object], seconds: float) -> None:
        """Wait, and meanwhile count one slice of the flags that are not counted one by one.

        Args:
            wait: waits for some seconds, less if the thread has something else to do.
            seconds: how long to wait.
        """
        length = seconds * SLICE
        # Imported here: a process that does not report needs no random numbers.
        before = load("tidegate.random_numbers").RANDOM.uniform(0.0, seconds - length)
        wait(before)
        self._count_slice(wait, length)
        if time.monotonic() - self._renewed >= RENEW_SECONDS:
            self._renew()
        wait(seconds - length - before)

    def changed(self, last: bool = False) -> dict[str, FlagTotals]:
        """Return the totals of the flags whose totals the next report has.

        These are flags that the server does not know to be used, and every ``REPORT_SECONDS`` all
        whose totals have changed.

        Args:
            last: whether no report may follow.
        """
        with self._lock:
            self._count_first()
            now = time.monotonic()
            due = last or now - self._changed_at >= REPORT_SECONDS
            if due:
                self._changed_at = now
            changed = {}
            for key, flag in list(self._flags.items()):
                if not due and key in self._acknowledged:
                    continue
                flag.collect(flag.single)
                totals = flag.whole()
                if (totals.defaults or totals.variants) and totals != self._acknowledged.get(key):
                    changed[key] = totals
            return changed

    def acknowledge(self, sent: Mapping[str, FlagTotals]) -> None:
        """Note that the server knows these totals."""
        with self._lock:
            self._acknowledged.update(sent)

    def start_again(self) -> None:
        """Keep only what the server does not know: it has forgotten this instance."""
        with self._lock:
            for key, known in self._acknowledged.items():
                totals = self._flags[key].totals
                for variant, total in (*known.variants.items(), (None, known.defaults)):
                    totals[variant] = max(0.0, totals.get(variant, 0.0) - total)
            self._acknowledged = {}

    # Inside

    def _count_first(self) -> None:
        """Count what was the first evaluation of a flag."""
        with suppress(KeyError):  # there is none any more
            while True:
                key, (variant,) = self._first.popitem()
                flag = self._flag(key, known=True)
                if flag is not None:
                    _step(flag.single, variant)

    def _flag(self, key: object, known: bool) -> _Flag | None:
        """Return where a flag counts; None if no flag has this key, or there is no room."""
        if not isinstance(key, str):
            return None
        flag = self._flags.get(key)
        if flag is not None:
            return flag
        if not _is_key(key) or len(self._flags) >= MAX_FLAGS:
            return None
        if not known:
            if len(self._unknown) >= MAX_UNKNOWN:
                return None
            self._unknown.add(key)
        return self._flags.setdefault(key, _Flag())

    def _watch(self, key: str, flag: _Flag) -> None:
        """Let a flag's entries in the tables count what they evaluate."""
        for table in self._tables:
            entry = table.get(key)
            if entry is not None:
                table[key] = self._counting(key, flag, getattr(entry[0], "uncounted", entry))

    def _unwatch(self, key: str) -> None:
        """Let a flag's entries in the tables not count.

        In one table, all entries of a flag evaluate the same: the client replaces a table whose
        flags change.
        """
        for table in self._tables:
            entry = table.get(key)
            plain = None if entry is None else getattr(entry[0], "uncounted", None)
            if plain is not None:
                table[key] = plain

    def _counting(self, key: str, flag: _Flag, entry: ReadyFlag) -> ReadyFlag:
        """Return an entry that evaluates as this one, and counts."""
        evaluate, left = entry[0], flag.left
        in_slice = flag.in_slice
        cells = flag.sliced if in_slice else flag.single

        def counting(context: Context) -> Evaluation:
            evaluation = evaluate(context)
            _step(cells, evaluation.variant)
            if in_slice:
                if not flag.in_slice:  # it is over: a copy of the table kept this entry
                    self._unwatch(key)
            elif next(left) >= COUNTED and flag.left is left:
                if flag.uncounted_since is None:
                    flag.uncounted_since = time.monotonic()
                self._unwatch(key)
            return evaluation

        counting.uncounted = entry  # type: ignore[attr-defined]
        return counting, None

    def _count_slice(self, wait: Callable[[float], object], length: float) -> None:
        """Count the evaluations of some seconds; they stand for all since the last slice."""
        uncounted = [
            (key, flag)
            for key, flag in list(self._flags.items())
            if flag.uncounted_since is not None
        ]
        if not uncounted:
            wait(length)
            return
        if len(uncounted) > MAX_SLICED:
            uncounted = load("tidegate.random_numbers").RANDOM.sample(uncounted, MAX_SLICED)
        began = time.monotonic()
        for key, flag in uncounted:
            flag.in_slice = True
            self._watch(key, flag)
        wait(length)
        for key, flag in uncounted:
            flag.in_slice = False
            self._unwatch(key)
        now = time.monotonic()
        # Of a thread that is woken at once, the slice says little: the next one stands for it.
        woken = now - began < length / 2
        with self._lock:
            for _, flag in uncounted:
                if woken:
                    flag.collect(flag.sliced, 0.0)
                elif flag.uncounted_since is not None:
                    flag.collect(
                        flag.sliced, max(1.0, (now - flag.uncounted_since) / (now - began))
                    )
                    flag.estimated, flag.uncounted_since = True, now

    def _renew(self) -> None:
        """Count one by one again, except flags for whose last seconds no slice stands yet."""
        self._renewed = now = time.monotonic()
        keys = {key for table in self._tables for key in list(table)}
        for number, key in enumerate(keys, start=1):
            if number % RENEWED_AT_ONCE == 0:
                time.sleep(PAUSE_SECONDS)
            flag = self._flag(key, known=True)
            if flag is None:
                continue
            since = flag.uncounted_since
            if since is not None and now - since > ROUND_SECONDS / 8:
                continue
            flag.left, flag.uncounted_since = count(1), None
            self._watch(key, flag)


def _is_key(key: str) -> bool:
    """Return whether a flag may have this key."""
    # ``strip`` leaves nothing of a text that has only these characters.
    return 0 < len(key) <= LONGEST_KEY and key[0] in LETTERS and not key.strip(LETTERS + MARKS)


def _step(cells: _Cells, variant: str | None) -> None:
    cell = cells.get(variant)
    if cell is None:
        if len(cells) >= MAX_VARIANTS:
            return
        cell = cells.setdefault(variant, _Cell())
    next(cell.steps)


def evaluations_document(totals: Mapping[str, FlagTotals]) -> dict[str, Any]:
    """Return the evaluations of a report as JSON; no field without any."""
    entries = [
        {
            "flag": key,
            "variants": flag.variants,
            "defaults": flag.defaults,
            "estimated": flag.estimated,
        }
        for key, flag in totals.items()
    ]
    return {EVALUATIONS: entries} if entries else {}
