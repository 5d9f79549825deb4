"""Who is in a group, as far as the reader may know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidegate_server.dashboard import api
from tidegate_server.domain.permissions import Permission

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Members:
    """The members of a group that its reader sees.

    Attributes:
        people: those that were put into it, as the API shows them.
        provided: those that groups of an identity provider put into it, each with its name.
        providers: the identity providers with a group whose members are in it, by name.
        complete: whether the reader sees all.
    """

    people: Sequence[Json]
    provided: Sequence[tuple[Json, str]]
    providers: Sequence[str]
    complete: bool

    @property
    def count(self) -> int:
        """How many the reader sees."""
        return len({each["id"] for each in (*self.people, *(one for one, _ in self.provided))})


@dataclass(frozen=True, slots=True)
class Everybody:
    """Who may be in a group: all people, and the groups of identity providers.

    Only who administers the whole server sees the providers, and the members of every group.
    """

    people: Sequence[Json]
    providers: Sequence[Json]
    complete: bool

    @classmethod
    def read(cls) -> Everybody:
        """Return all whom the reader sees."""
        owns = api.reader().allows(Permission.ADMINISTER, None, None)
        providers = api.all_of("identity-providers") if owns else []
        return cls(api.all_of("people"), providers, owns)

    def members(self, group: str) -> Members:
        """Return the members of a group."""
        return Members(
            [each for each in self.people if group in each["groups"]],
            [*self._provided(group)],
            [
                each["name"] or each["key"]
                for each in self.providers
                if any(group in mapping["groups"] for mapping in each["group_mappings"])
            ],
            self.complete,
        )

    def _provided(self, group: str) -> Iterator[tuple[Json, str]]:
        """Yield who is in a group because of a group at an enabled provider, with its name."""
        for provider in self.providers:
            theirs = {
                each["provider_group"]
                for each in provider["group_mappings"]
                if group in each["groups"]
            }
            for person in self.people:
                for said in person["provided"]:
                    same = (said["provider"], said["issuer"]) == (
                        provider["key"],
                        provider["issuer"],
                    )
                    if provider["enabled"] and same and theirs & set(said["groups"]):
                        yield person, provider["name"] or provider["key"]
