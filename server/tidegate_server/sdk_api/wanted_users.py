"""What the server asks SDKs for: which recently seen users, and which of their attributes.

Threads: what is kept is replaced as a whole. Two threads that find the same at once do it twice.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar
from weakref import ref

import msgspec
from tidegate.seen_users import sample_number

from tidegate_server.domain.change import Address
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.seen_users import (
    MOST_ATTRIBUTES,
    SeenUser,
    attributes_of_segments,
    attributes_of_targetings,
    key_lists_of_segments,
)
from tidegate_server.store import Store
from tidegate_server.web.seen_user_names import names_secret

T = TypeVar("T")

AGAIN_SECONDS = 60.0
"""How long a process does not write the same user again, so when a user was last seen is known to
about a minute."""

MOST_WRITTEN = 20_000
"""After so many users of all environments, those that were written are forgotten: then they are
written again sooner. The sample of an environment has a thousand."""

FRESH_SECONDS = 10.0
"""How long what an environment asks for is kept. So long a new attribute, and a limit that another
process has raised, take to be asked for."""


@dataclass(frozen=True, slots=True)
class WantedUsers:
    """What reports name: users whose number is ``below`` the limit, with these attributes.

    ``key_lists``: lists of uploaded keys, by their salts; reports say which have a user's key.
    """

    secret: str
    below: int
    attributes: tuple[str, ...]
    key_lists: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Asked:
    until: float
    wanted: WantedUsers | None


@dataclass(frozen=True, slots=True)
class _Written:
    """What was written of a user, as a hash, and until when it need not be written again.

    ``user`` may still be there: most reports name the same users, each of which is read once.
    """

    user: ref[SeenUser]
    content: int
    asked_for: int
    until: float

    def has(self, user: SeenUser, asked_for: int) -> bool:
        """Return whether the same was written of the user."""
        same = self.user() is user or self.content == _hash_of(user)
        return same and self.asked_for == asked_for


class SeenUserReports:
    """Takes the seen users of reports, and says which ones the next reports name."""

    def __init__(self, store: Store, secret_key: bytes) -> None:
        self._store = store
        self._secret_key = secret_key
        self._asked: dict[tuple[str, str], _Asked] = {}
        self._written: dict[tuple[str, str, str], _Written] = {}

    def take(
        self, project: str, environment: str, users: tuple[SeenUser, ...]
    ) -> WantedUsers | None:
        """Add users to the sample of an environment, and return what it asks for.

        Returns:
            None if the environment wants no users; then these are not kept either.
        """
        place, now = (project, environment), time.monotonic()
        asked = self._asked.get(place)
        if asked is None or asked.until < now:
            asked = self._asked[place] = _Asked(now + FRESH_SECONDS, self._read_wanted(*place))
            if asked.wanted is None:
                self._forget_written(place)
        wanted = asked.wanted
        if wanted is None or not users:
            return wanted
        names, lists = frozenset(wanted.attributes), frozenset(wanted.key_lists)
        asked_for = hash((names, lists))
        news, written = [], {}
        for user in users:
            known = (project, environment, user.name)
            before = self._written.get(known)
            if before is not None and before.until >= now and before.has(user, asked_for):
                continue
            if sample_number(user.name) < wanted.below:
                only = _only(user.attributes, names), _only(user.lists, lists)
                news.append(SeenUser(user.name, *only))
                content = _hash_of(user)
                written[known] = _Written(ref(user), content, asked_for, now + AGAIN_SECONDS)
        if not news:
            return wanted
        below = self._store.seen_users.add(project, environment, news)
        if len(self._written) > MOST_WRITTEN:
            self._written.clear()
        self._written.update(written)
        wanted = replace(wanted, below=below)
        self._asked[place] = _Asked(asked.until, wanted)
        return wanted

    def _forget_written(self, place: tuple[str, str]) -> None:
        """Write everybody again once the environment, whose sample is gone, wants users again."""
        for known in [each for each in list(self._written) if each[:2] == place]:
            self._written.pop(known, None)

    def _read_wanted(self, project: str, environment: str) -> WantedUsers | None:
        """Return what an environment wants to know of users; None: nothing."""
        stored = self._store.get(project, Address(Kind.ENVIRONMENT, environment))
        if stored is None or not stored.document.report_seen_users:
            self._store.seen_users.forget(project, environment)
            return None
        targetings = self._store.cached(project, Kind.TARGETING, environment)
        segments = self._store.cached(project, Kind.SEGMENT)
        names = {
            *targetings.derive(attributes_of_targetings),
            *segments.derive(attributes_of_segments),
        }
        return WantedUsers(
            names_secret(self._secret_key, project, environment),
            self._store.seen_users.limit(project, environment),
            tuple(sorted(names)[:MOST_ATTRIBUTES]),
            segments.derive(key_lists_of_segments),
        )


def _hash_of(user: SeenUser) -> int:
    return hash(msgspec.json.encode((user.attributes, user.lists)))


def _only(values: Mapping[str, T], names: frozenset[str]) -> dict[str, T]:
    return {name: value for name, value in values.items() if name in names}
