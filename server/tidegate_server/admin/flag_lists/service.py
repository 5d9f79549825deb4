"""Find the flags of a list, without looking at every flag for each page.

A process keeps what it found for the last queries, and updates it with the flags that have changed
since (``store/document_cache.py``). A search looks up its words.

Threads: what is kept is replaced as a whole. Two threads that find the same at once do it twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from typing import TypeAlias, cast

from flask import Flask, current_app

from tidegate_server.domain.change import Stored
from tidegate_server.domain.flag_list import (
    FlagFilter,
    FlagList,
    FlagRow,
    Order,
    flag_rows,
    list_flags,
    searched_list,
    updated_list,
    updated_rows,
)
from tidegate_server.domain.flag_words import updated_words, words_of_flags
from tidegate_server.domain.kinds import Kind
from tidegate_server.store import Store
from tidegate_server.store.document_cache import CachedDocuments

EXTENSION = "tidegate.flag_lists"

MOST_PLACES = 50
"""For how many environments a process keeps what it found."""

MOST_QUERIES = 20
"""How many queries of an environment a process keeps."""

MOST_CHANGES = 200
"""After more changes than this, what was found is found again."""

FEW = 500
"""So few flags are sorted; of more, those of a sorted list are chosen."""

Query: TypeAlias = tuple[FlagFilter, Order]

Sources: TypeAlias = Mapping[Kind, CachedDocuments]
"""The definitions of flags, and the targetings and releases of an environment."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The flags of one place, and what was found for the last queries."""

    sources: Sources
    rows: Mapping[str, FlagRow]
    found: dict[Query, FlagList] = field(default_factory=dict)

    @property
    def flags(self) -> Mapping[str, Stored]:
        """The definitions, by key."""
        return self.sources[Kind.FLAG].stored

    @property
    def targetings(self) -> Mapping[str, Stored]:
        """The targetings in the environment, by key."""
        return self.sources[Kind.TARGETING].stored

    def find(self, chosen: FlagFilter, order: Order) -> FlagList:
        """Return the flags that a query asks for."""
        query = (chosen, order)
        found = self.found.pop(query, None)
        if found is None:
            found = self._found(chosen, order)
        self.found[query] = found
        for oldest in list(self.found)[:-MOST_QUERIES]:
            self.found.pop(oldest, None)
        return found

    def _found(self, chosen: FlagFilter, order: Order) -> FlagList:
        words = self.sources[Kind.FLAG].derive(words_of_flags, updated_words)
        candidates = words.containing_all(chosen.words)
        if candidates is None:
            return list_flags(self.rows.values(), chosen, order)
        if len(candidates) <= FEW:
            rows = [self.rows[key] for key in candidates if key in self.rows]
            return list_flags(rows, chosen, order)
        everything = self.find(replace(chosen, words=(), state=None), order)
        return searched_list(everything, self.rows, chosen, candidates)


class FlagLists:
    """The listings of one process, by project and environment; empty: of the whole project."""

    def __init__(self) -> None:
        self._listings: dict[tuple[str, str], Listing] = {}

    def of(self, store: Store, project: str, environment: str = "") -> Listing:
        """Return the flags of a project, or of one of its environments, as they are now."""
        place = (project, environment)
        # The targetings first: the flag and the release of each are there when they are read.
        kinds = {Kind.TARGETING: environment, Kind.RELEASE: environment} if environment else {}
        kinds[Kind.FLAG] = ""
        found = store.cached_all(project, list(kinds.items()))
        sources = dict(zip(kinds, found, strict=True))
        kept = self._listings.get(place)
        if kept is not None and _are_same(kept.sources, sources):
            return kept
        listing = None if kept is None else _updated(kept, sources)
        if listing is None:
            listing = Listing(sources, flag_rows(*_documents(sources)))
        if place not in self._listings and len(self._listings) >= MOST_PLACES:
            self._listings.clear()
        self._listings[place] = listing
        return listing


def _updated(kept: Listing, sources: Sources) -> Listing | None:
    """Return a listing after some documents have changed; None: it is to be made again."""
    changed = _changed_flags(kept.sources, sources)
    if changed is None or len(changed) > MOST_CHANGES:
        return None
    rows = updated_rows(kept.rows, *_documents(sources), changed)
    found = {
        query: updated_list(found, kept.rows, rows, changed, query)
        for query, found in list(kept.found.items())
        if not query[0].words  # a search is soon made again
    }
    return Listing(sources, rows, found)


def _changed_flags(before: Sources, after: Sources) -> Set[str] | None:
    """Return the keys of the flags that may be others than before; None: that is not known."""
    changed: set[str] = set()
    for kind, new in after.items():
        old = before[kind]
        keys = new.changed_since(old)
        if keys is None:
            return None
        if kind is Kind.RELEASE:  # by their ids
            known = [each.stored[id] for each in (old, new) for id in keys if id in each.stored]
            keys = {each.document.flag for each in known}
        changed |= keys
    return changed


def _documents(
    sources: Sources,
) -> tuple[Mapping[str, Stored], Mapping[str, Stored] | None, Mapping[str, Stored] | None]:
    """Return the definitions, and the targetings and releases of an environment, if it is one."""
    stored = {kind: each.stored for kind, each in sources.items()}
    return stored[Kind.FLAG], stored.get(Kind.TARGETING), stored.get(Kind.RELEASE)


def install(app: Flask) -> None:
    """Give an application its lists of flags."""
    app.extensions[EXTENSION] = FlagLists()


def flag_lists() -> FlagLists:
    """Return the lists of the application that serves the current request."""
    return cast(FlagLists, current_app.extensions[EXTENSION])


def _are_same(some: Sources, others: Sources) -> bool:
    """Return whether these are the same documents, or both empty."""
    return all(
        one.stored is others[kind].stored or not (one.stored or others[kind].stored)
        for kind, one in some.items()
    )
