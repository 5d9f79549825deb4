"""All documents of a kind, kept in this process and brought up to date at each read.

The commit script writes a notice of each commit to the scope's activity: which documents it wrote,
and how many entries it added to the audit log. A read asks for the latest notice, and for the end
of the audit log's hash chain. If both are as they were, the documents are, too. Otherwise it reads
only the documents that the notices name. What is derived from documents can be updated in the same
way. It reads everything if some notices are missing: they are
no longer kept, the store was restored from a backup, or a server of an earlier version, which
writes none, has committed.

Threads: ``_lock`` guards the table of what is kept and is never held during network I/O. What is
kept is replaced as a whole, never changed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar, cast

import msgspec

from tidegate_server.domain.change import Moment, Stored
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.layered_mapping import with_changes
from tidegate_server.domain.targeting_index import (
    TargetingIndex,
    index_targetings,
    updated_index,
)
from tidegate_server.store import documents, keys
from tidegate_server.store.connection import Connection

CACHED_BYTES = 32_000_000
"""How much JSON of documents a process keeps; in memory they take several times as much."""

MOST_NOTICES = 2_000
"""With more new notices than this, everything is read again."""

UPDATES_KNOWN = 100
"""How many updates of documents are known, for what is derived from them."""

T = TypeVar("T")

Place: TypeAlias = tuple[str, Kind, str]
"""A scope, a kind of documents, and their environment; empty if the kind belongs to none."""

Written: TypeAlias = Mapping[tuple[str, str], Set[str]]
"""The keys of written documents, by their kind and their environment."""

Update: TypeAlias = Callable[[T, Mapping[str, Stored], Mapping[str, Stored], Set[str]], T]
"""Gets what was derived, the documents before and after, and the keys of those that changed."""


@dataclass(frozen=True, slots=True, eq=False)
class _Changed:
    """The mark of one update, or of a whole reading: no two are the same, whatever they changed.

    Attributes:
        keys: those that the update changed.
    """

    keys: Set[str] = frozenset()


@dataclass(frozen=True, slots=True)
class CachedDocuments:
    """All documents of a kind as of a moment; none is older, and some may be newer.

    Attributes:
        stored: the documents by key; nobody may change this mapping.
        moment: without a notice, these documents were read for this time only.
        size: how many bytes of JSON were read for them.
    """

    stored: Mapping[str, Stored]
    moment: Moment = Moment()
    size: int = 0
    # The reading and its updates since, or the last ones of them.
    _marks: tuple[_Changed, ...] = field(
        default_factory=lambda: (_Changed(),), compare=False, repr=False
    )
    # What was derived last, shared by all that came from the same reading by updates.
    _derived: dict[object, tuple[CachedDocuments, Any]] = field(
        default_factory=dict, compare=False, repr=False
    )

    def derive(
        self,
        function: Callable[[Mapping[str, Stored]], T],
        update: Update[T] | None = None,
    ) -> T:
        """Return what a function of a module makes of the documents; computed only once.

        Args:
            function: makes it of all documents.
            update: makes it of what it was for earlier documents; None: ``function`` does.
        """
        earlier, value = self._derived.get(function, (None, None))
        if earlier is not None and earlier.stored is self.stored:
            return cast(T, value)
        changed = None if earlier is None or update is None else self.changed_since(earlier)
        if earlier is None or update is None or changed is None:
            value = function(self.stored)
        else:
            value = update(cast(T, value), earlier.stored, self.stored, changed)
        self._derived[function] = (self, value)
        return value

    def changed_since(self, earlier: CachedDocuments) -> Set[str] | None:
        """Return the keys of the documents that may be others than in an earlier reading.

        None: that is not known.
        """
        last = earlier._marks[-1]
        # Two requests that update the same at once make two that do not come from each other.
        if last not in self._marks:
            return None
        since = self._marks[self._marks.index(last) + 1 :]
        return frozenset().union(*(each.keys for each in since))

    def at(self, moment: Moment) -> CachedDocuments:
        """Return the same documents as of a later moment."""
        return CachedDocuments(self.stored, moment, self.size, self._marks, self._derived)

    def updated(
        self, stored: Mapping[str, Stored], changed: Set[str], moment: Moment, size: int
    ) -> CachedDocuments:
        """Return the documents after some of them have changed."""
        marks = (*self._marks, _Changed(changed))[-UPDATES_KNOWN - 1 :]
        return CachedDocuments(stored, moment, size, marks, self._derived)


def targeting_index(targetings: CachedDocuments) -> TargetingIndex:
    """Return the index of an environment's targetings."""
    return targetings.derive(index_targetings, updated_index)


class DocumentCache:
    """The documents that a process has read lately. Use ``Store.cached``."""

    def __init__(self, connection: Connection, most_bytes: int = CACHED_BYTES) -> None:
        self._connection = connection
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[Place, CachedDocuments] = OrderedDict()
        self._size = 0

    def all(self, scope: str, kinds: Sequence[tuple[Kind, str]]) -> list[CachedDocuments]:
        """Return every document of several kinds, as recent as this call, all of one moment.

        Args:
            scope: the scope of the documents.
            kinds: each kind with its environment, or ``""``.
        """
        places: list[Place] = [(scope, *each) for each in kinds]
        with self._lock:
            kept = [self._kept.get(place) for place in places]
        moment = self.moment(scope)
        written: dict[Moment, Written | None] = {}
        found = []
        for place, before in zip(places, kept, strict=True):
            if before is not None and before.moment == moment:
                with self._lock:
                    if place in self._kept:
                        self._kept.move_to_end(place)
                found.append(before)
                continue
            after = None
            if before is not None and moment.notice:
                if before.moment not in written:
                    written[before.moment] = self._written(scope, before.moment, moment)
                after = self._updated(place, before, written[before.moment], moment)
            if after is None:
                after = self._read_all(place, moment)
            self._keep(place, after)
            found.append(after)
        return found

    def moment(self, scope: str) -> Moment:
        """Return the present state of a scope."""
        (number, hash), latest = self._connection.read_many(
            [
                ("HMGET", keys.audit_chain(scope), "number", "hash"),
                ("XREVRANGE", keys.activity(scope), "+", "-", "COUNT", 1),
            ],
            atomic=True,
        )
        notice = latest[0][0].decode() if latest else ""
        return Moment(notice, int(number or 0), (hash or b"").decode())

    def _written(self, scope: str, since: Moment, until: Moment) -> Written | None:
        """Return what was written between two moments; None if that is not known."""
        notices = self._connection.read(
            *("XRANGE", keys.activity(scope), since.notice, until.notice),
            *("COUNT", MOST_NOTICES + 1),
        )
        ends = (since.notice.encode(), until.notice.encode())
        if not notices or (notices[0][0], notices[-1][0]) != ends:
            return None
        written: dict[tuple[str, str], set[str]] = defaultdict(set)
        audited = since.audited
        for _, fields in notices[1:]:
            audited += int(fields.get(b"audited", b"0"))
            for kind, where, key, _ in msgspec.json.decode(fields.get(b"documents", b"[]")):
                written[kind, where].add(key)
        return written if audited == until.audited else None

    def _updated(
        self, place: Place, kept: CachedDocuments, written: Written | None, moment: Moment
    ) -> CachedDocuments | None:
        """Return what is kept with the changes since; None if it is not known what changed."""
        if written is None:
            return None
        scope, kind, environment = place
        changed = written.get((kind, environment))
        if not changed:
            return kept.at(moment)
        values = self._connection.read("HMGET", keys.documents(scope, kind, environment), *changed)
        stored = with_changes(
            kept.stored,
            {
                key: None if value is None else documents.decode(kind, value)
                for key, value in zip(changed, values, strict=True)
            },
        )
        size = kept.size + sum(len(value) for value in values if value is not None)
        # What was replaced still counts, until everything is read again.
        if size > self._most_bytes:
            return None
        return kept.updated(stored, frozenset(changed), moment, size)

    def _read_all(self, place: Place, moment: Moment) -> CachedDocuments:
        """Read all documents at a place. They may be newer than ``moment``, which is before."""
        scope, kind, environment = place
        values = self._connection.read("HGETALL", keys.documents(scope, kind, environment))
        return CachedDocuments(
            documents.decode_all(kind, values), moment, sum(map(len, values.values()))
        )

    def _keep(self, place: Place, found: CachedDocuments) -> None:
        with self._lock:
            before = self._kept.pop(place, None)
            if before is not None:
                self._size -= before.size
            if not found.moment.notice or found.size > self._most_bytes:
                return
            self._kept[place] = found
            self._size += found.size
            while self._size > self._most_bytes:
                _, oldest = self._kept.popitem(last=False)
                self._size -= oldest.size
