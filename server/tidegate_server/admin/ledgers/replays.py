"""Replay a stored ledger, part by part."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate_server.admin.document_reader import read_document
from tidegate_server.admin.ledgers.stored_ledger import read_ledger
from tidegate_server.domain.change import Address
from tidegate_server.domain.kinds import Kind
from tidegate_server.ledger.replay import Difference, Replay
from tidegate_server.store import Store
from tidegate_server.web.pagination import encode_cursor

MAX_DIFFERENCES = 200
"""How many differences of a part are listed; ``Replay.differing`` counts all entries."""


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """The replay of a part of a ledger.

    Attributes:
        ledger: the number of entries in the whole ledger.
        entries: the number of entries in this part.
        replay: the counts of the replay.
        differences: the first ones, in the order of the ledger.
        following: where the next part begins; None: this is the last part.
    """

    ledger: int
    entries: int
    replay: Replay
    differences: tuple[Difference, ...]
    following: str | None

    @property
    def agrees(self) -> bool:
        """Whether the replay found no difference."""
        return not self.differences

    @property
    def next_cursor(self) -> str | None:
        """The cursor of the next part."""
        return encode_cursor(self.following)


def replay(
    store: Store, project: str, environment: str, release: str, after: str | None, min_entries: int
) -> ReplayResult:
    """Replay a part of a release's ledger, from its first checkpoint on.

    Args:
        store: where the ledger is.
        project, environment, release: the release.
        after: ``following`` of the part before; None: begin at the start of the ledger.
        min_entries: the part ends at the first checkpoint after this many entries.

    Raises:
        NotFound: there is no such release.
        NotPossible: this version cannot read an entry.
    """
    read_document(store, project, Address(Kind.RELEASE, release, environment))
    part = Replay()
    differences: list[Difference] = []
    entries, last, following = 0, after, None
    for each in read_ledger(store, project, environment, release, after):
        if entries >= min_entries and each.entry.checkpoint is not None:
            differences += part.start_at_checkpoint(each)
            following = last
            break
        differences += part.add(each)
        entries, last = entries + 1, each.id
        del differences[MAX_DIFFERENCES:]
    return ReplayResult(
        store.logs.ledger_length(project, environment, release),
        entries,
        part,
        tuple(differences),
        following,
    )
