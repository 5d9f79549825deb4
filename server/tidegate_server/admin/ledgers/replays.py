"""Deciding a stored ledger again, a stretch at a time."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate_server.admin.document_reader import read_document
from tidegate_server.admin.ledgers.stored_ledger import read_ledger
from tidegate_server.domain.change import Address, Kind
from tidegate_server.ledger.replay import Difference, Replay
from tidegate_server.store import Store

MOST_DIFFERENCES = 200
"""So many of a stretch's differences are shown; ``Replay.differing`` counts all entries."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """A stretch of a ledger, decided again.

    Attributes:
        ledger: how many entries the whole ledger has.
        entries: how many of them this stretch has.
        replay: what became of them.
        differences: the first ones, in the order of the ledger.
        following: where the next stretch begins; None: this was the last one.
    """

    ledger: int
    entries: int
    replay: Replay
    differences: tuple[Difference, ...]
    following: str | None

    @property
    def agrees(self) -> bool:
        """Whether nothing differs."""
        return not self.differences


def replay(
    store: Store, project: str, environment: str, release: str, after: str | None, least: int
) -> Replayed:
    """Decide a release's ledger again, from the first checkpoint on.

    Args:
        store: where the ledger is.
        project, environment, release: whose.
        after: ``following`` of the stretch before; None: at the ledger's beginning.
        least: how many entries the stretch has at least, if there are as many. It ends where
            a checkpoint lets the next one begin.

    Raises:
        NotFound: there is no such release.
        NotPossible: an entry cannot be read by this version.
    """
    read_document(store, project, Address(Kind.RELEASE, release, environment))
    again = Replay()
    differences: list[Difference] = []
    entries, last, following = 0, after, None
    for each in read_ledger(store, project, environment, release, after):
        if entries >= least and each.entry.checkpoint is not None:
            differences += again.start_at_checkpoint(each)
            following = last
            break
        differences += again.add(each)
        entries, last = entries + 1, each.id
        del differences[MOST_DIFFERENCES:]
    return Replayed(
        store.ledger_length(project, environment, release),
        entries,
        again,
        tuple(differences),
        following,
    )
