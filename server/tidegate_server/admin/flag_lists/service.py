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

from tidegate_server.domain.change import Kind, Stored
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


@dataclass(frozen=True, slots=True)
class Listing:
    """The flags of one place, and what was found for the last queries.

    ``sources`` are the definitions, and the targetings and releases of an environment.
    """

    sources: tuple[CachedDocuments, ...]
    rows: Mapping[str, FlagRow]
    found: dict[Query, FlagList] = field(default_factory=dict)

    @property
    def flags(self) -> Mapping[str, Stored]:
        """The definitions, by key."""
        return self.sources[-1].stored

    @property
    def targetings(self) -> Mapping[str, Stored]:
        """The targetings in the environment, by key."""
        return self.sources[0].stored

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
        words = self.sources[-1].derive(words_of_flags, updated_words)
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
        kinds = [(Kind.FLAG, "")]
        if environment:
            kinds = [(Kind.TARGETING, environment), (Kind.RELEASE, environment), *kinds]
        sources = tuple(store.cached_all(project, kinds))
        kept = self._listings.get(place)
        if kept is not None and _are_same(kept.sources, sources):
            return kept
        listing = None if kept is None else _updated(kept, sources)
        if listing is None:
            flags, targetings, releases = _documents(sources)
            listing = Listing(sources, flag_rows(flags, targetings, releases))
        if len(self._listings) >= MOST_PLACES:
            self._listings.clear()
        self._listings[place] = listing
        return listing


def _updated(kept: Listing, sources: tuple[CachedDocuments, ...]) -> Listing | None:
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


def _changed_flags(
    before: tuple[CachedDocuments, ...], after: tuple[CachedDocuments, ...]
) -> Set[str] | None:
    """Return the keys of the flags that may be others than before; None: that is not known."""
    changed: set[str] = set()
    for number, (old, new) in enumerate(zip(before, after, strict=True)):
        keys = new.changed_since(old)
        if keys is None:
            return None
        if number == 1:  # releases, by their ids
            known = [each.stored[id] for each in (old, new) for id in keys if id in each.stored]
            keys = {each.document.flag for each in known}
        changed |= keys
    return changed


def _documents(
    sources: tuple[CachedDocuments, ...],
) -> tuple[Mapping[str, Stored], Mapping[str, Stored] | None, Mapping[str, Stored] | None]:
    """Return the definitions, and the targetings and releases of an environment."""
    if len(sources) == 1:
        return sources[0].stored, None, None
    targetings, releases, flags = sources
    return flags.stored, targetings.stored, releases.stored


def install(app: Flask) -> None:
    """Give an application its lists of flags."""
    app.extensions[EXTENSION] = FlagLists()


def flag_lists() -> FlagLists:
    """Return the lists of the application that serves the current request."""
    return cast(FlagLists, current_app.extensions[EXTENSION])


def _are_same(some: tuple[CachedDocuments, ...], others: tuple[CachedDocuments, ...]) -> bool:
    """Return whether these are the same documents, or both empty."""
    return all(
        one.stored is other.stored or not (one.stored or other.stored)
        for one, other in zip(some, others, strict=True)
    )
