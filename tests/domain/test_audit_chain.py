"""The hash chain of an audit log finds every manipulation, and names the first wrong entry."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest
from tidegate_server.domain.audit_chain import (
    FIRST,
    START,
    ChainedEntry,
    Link,
    content_digest,
    next_link,
    verify,
)


def log(amount: int = 5, unchained: int = 0) -> list[ChainedEntry]:
    """Return the entries e1, e2, ..."""
    entries, latest = [], START
    for number in range(1, amount + 1):
        content = {"actor": "ann", "target": f"flag-{number}"}
        link = None
        if number > unchained:
            latest = link = next_link(latest, 1_000 + number, content_digest(content))
        entries.append(ChainedEntry(f"e{number}", 1_000 + number, content, link))
    return entries


def head(entries: list[ChainedEntry]) -> Link:
    link = entries[-1].link
    assert link is not None
    return link


def test_the_first_hash_is_as_documented() -> None:
    digest = hashlib.sha256(b'{"a":"\\u00fc","b":[1.5,null]}').hexdigest()
    assert content_digest({"b": [1.5, None], "a": "ü"}) == digest
    expected = hashlib.sha256(f"{FIRST} 1 17 {digest}".encode()).hexdigest()
    assert next_link(START, 17, digest) == Link(1, expected)


def test_a_whole_log_is_intact() -> None:
    entries = log()
    result = verify(entries, head(entries))
    assert (result.broken, result.chained, result.unchained) == (None, 5, 0)
    assert result.latest == head(entries)


def test_entries_of_earlier_versions_are_counted_as_unchained() -> None:
    entries = log(unchained=2)
    result = verify(entries, head(entries))
    assert (result.broken, result.chained, result.unchained) == (None, 3, 2)


def test_an_empty_log_is_intact() -> None:
    assert verify([], START).broken is None


MANIPULATIONS: dict[str, tuple[Callable[[list[ChainedEntry]], list[ChainedEntry]], str]] = {
    "another content": (
        lambda each: [*each[:2], replace(each[2], content={"actor": "bob"}), *each[3:]],
        "e3",
    ),
    "another time": (lambda each: [*each[:2], replace(each[2], at_ms=1), *each[3:]], "e3"),
    "another hash": (
        lambda each: [*each[:2], replace(each[2], link=Link(3, FIRST)), *each[3:]],
        "e3",
    ),
    "removed": (lambda each: [*each[:2], *each[3:]], "e4"),
    "first removed": (lambda each: each[1:], "e2"),
    "last removed": (lambda each: each[:-1], ""),
    "all removed": (lambda _: [], ""),
    "moved": (lambda each: [each[0], each[2], each[1], *each[3:]], "e3"),
    "twice": (lambda each: [*each[:3], replace(each[2], id="copy"), *each[3:]], "copy"),
    "inserted without a hash": (
        lambda each: [*each[:3], replace(each[2], id="new", link=None), *each[3:]],
        "new",
    ),
}


@pytest.mark.parametrize("name", MANIPULATIONS)
def test_a_manipulation_is_found_at_the_first_wrong_entry(name: str) -> None:
    manipulate, expected = MANIPULATIONS[name]
    entries = log()
    result = verify(manipulate(entries), head(entries))
    assert result.broken == expected
    assert result.problem


def test_a_full_log_begins_after_what_was_removed() -> None:
    entries = log()
    anchor = entries[1].link
    assert anchor is not None
    assert verify(entries[2:], head(entries), anchor).broken is None
    assert verify(entries[3:], head(entries), anchor).broken == "e4"
    assert verify(entries[1:], head(entries), anchor).broken == "e2"


def test_a_log_made_anew_is_found_with_a_hash_kept_elsewhere() -> None:
    entries = log()
    known = entries[3].link
    anew = [*entries[:1]]
    for each in entries[1:]:
        content = {**each.content, "actor": "bob"}
        link = next_link(head(anew), each.at_ms, content_digest(content))
        anew.append(replace(each, content=content, link=link))
    assert verify(anew, head(anew)).broken is None
    assert verify(anew, head(anew), known=known).broken == "e4"
    assert verify(entries, head(entries), known=known).broken is None
    assert verify(log(3), head(log(3)), known=known).broken == ""
