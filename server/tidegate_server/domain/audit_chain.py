"""The hash chain of an audit log.

Each entry has a number and a hash over the hash of the entry before it, so nobody can change,
insert or remove an entry without changing every later hash::

    hash = SHA-256("<hash before> <number> <at, in milliseconds> <SHA-256 of the content>")

The content is the entry without its position, time, number and hash, as JSON with sorted names, no
spaces, and only ASCII characters. The hash before the first entry is ``FIRST``.

A chain shows a change only to those who know a later hash. Whoever can write to the store can make
a new chain of all entries, so keep the latest hash elsewhere, too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

FIRST = "0" * 64
"""The hash before the first entry."""


@dataclass(frozen=True, slots=True)
class Link:
    """An entry's place in the chain: its number, from 1, and its hash in hex."""

    number: int
    hash: str


START = Link(0, FIRST)


@dataclass(frozen=True, slots=True)
class ChainedEntry:
    """An entry of an audit log.

    Attributes:
        id: its position in the log.
        at_ms: when it was added.
        content: what the hash is about.
        link: None for entries of versions that had no chain.
    """

    id: str
    at_ms: int
    content: Mapping[str, Any]
    link: Link | None


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of checking a log.

    Attributes:
        chained: how many entries the chain confirms.
        unchained: how many entries before the chain no chain confirms.
        latest: the last entry that the chain confirms.
        broken: the id of the first entry that is wrong; None: none is. Empty: entries are missing
            at the end.
        problem: what is wrong, as a sentence; empty: nothing is.
    """

    chained: int
    unchained: int
    latest: Link
    broken: str | None = None
    problem: str = ""


def content_digest(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of an entry's content, in hex."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def next_link(before: Link, at_ms: int, digest: str) -> Link:
    """Return the link of the entry after ``before``, whose content has this digest."""
    number = before.number + 1
    text = f"{before.hash} {number} {at_ms} {digest}"
    return Link(number, hashlib.sha256(text.encode()).hexdigest())


def verify(
    entries: Iterable[ChainedEntry], head: Link, anchor: Link = START, known: Link | None = None
) -> Verification:
    """Check the chain of a log.

    Args:
        entries: every entry of the log, the earliest first; later ones than ``head`` may follow.
        head: the latest link that the store keeps.
        anchor: the link of the last entry that was removed because the log is full.
        known: a link that you kept elsewhere; the chain must have it.
    """
    chained = unchained = 0
    latest = anchor

    def broken(id: str, problem: str) -> Verification:
        return Verification(chained, unchained, latest, id, problem)

    if known is not None and known == anchor:
        known = None
    for entry in entries:
        if entry.link is None:
            if latest.number > 0:
                return broken(entry.id, "It has no hash, though it is after entries that have one.")
            unchained += 1
            continue
        expected = next_link(latest, entry.at_ms, content_digest(entry.content))
        if entry.link.number != expected.number:
            return broken(
                entry.id,
                f"It has the number {entry.link.number:,} instead of {expected.number:,}: entries "
                "before it were removed, inserted or moved.",
            )
        if entry.link.hash != expected.hash:
            return broken(entry.id, "It was changed, or an entry before it was exchanged.")
        if known is not None and entry.link.number == known.number:
            if entry.link.hash != known.hash:
                return broken(
                    entry.id,
                    f"Its hash is not {known.hash}: this log was made anew with other entries.",
                )
            known = None
        chained += 1
        latest = expected
    if latest.number < head.number:
        return broken(
            "", f"The log ends with number {latest.number:,}, but had {head.number:,} entries."
        )
    if known is not None:
        return broken("", f"The log has no entry with the number {known.number:,}.")
    return Verification(chained, unchained, latest)
