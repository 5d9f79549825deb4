"""A project's whole configuration, as an import wants it, and what the import would change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tidegate_server.domain.change import Address, Change, Delete, Put
from tidegate_server.domain.flags import FlagDefinition, SegmentDefinition, Targeting
from tidegate_server.domain.hooks import Hook
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.projects import Environment
from tidegate_server.domain.webhooks import Webhook
from tidegate_server.errors import FieldProblem

MAX_OBJECTS = 10_000
"""How many objects one import may change: flags, segments, policies, and so on."""

SECTIONS: Mapping[Kind, str] = {
    Kind.ENVIRONMENT: "environments",
    Kind.FLAG: "flags",
    Kind.SEGMENT: "segments",
    Kind.POLICY: "policies",
    Kind.WEBHOOK: "webhooks",
    Kind.HOOK: "hooks",
}
"""The member of a configuration that lists the objects of each kind."""


@dataclass(frozen=True, slots=True)
class WantedFlag:
    """A flag as it is to be.

    ``targetings`` has what it serves, by environment; what it serves in others stays.
    """

    definition: FlagDefinition
    archived: bool = False
    targetings: Mapping[str, Targeting] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Configuration:
    """A project's configuration as it is to be, by key; None: documents of this kind stay.

    Attributes:
        environments, flags, segments, policies, webhooks, hooks: documents by key or id.
        prune: whether to delete what a kind that is not None does not have.
    """

    environments: Mapping[str, Environment] | None = None
    flags: Mapping[str, WantedFlag] | None = None
    segments: Mapping[str, SegmentDefinition] | None = None
    policies: Mapping[str, Policy] | None = None
    webhooks: Mapping[str, Webhook] | None = None
    hooks: Mapping[str, Hook] | None = None
    prune: bool = False

    def of(self, kind: Kind) -> Mapping[str, Any] | None:
        """Return the documents of a kind."""
        documents: Mapping[str, Any] | None = getattr(self, SECTIONS[kind])
        return documents


@dataclass(frozen=True, slots=True)
class ImportProblem:
    """Why an import is not possible: a problem of a document, with the pointer in it."""

    address: Address
    problem: FieldProblem


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """What an import would change.

    Attributes:
        writes: the documents that it writes or deletes, in the order of their kinds and keys;
            releases whose evidence starts again are in the change only.
        kept: documents that the configuration does not have, and that stay.
        problems: what prevents it. With any of these, ``change`` is None.
        change: the change, without its audit entries; None if nothing changes.
    """

    writes: tuple[Put | Delete, ...]
    kept: tuple[Address, ...]
    problems: tuple[ImportProblem, ...]
    change: Change | None


ORDER = (
    *(Kind.ENVIRONMENT, Kind.SEGMENT, Kind.WEBHOOK, Kind.POLICY),
    *(Kind.FLAG, Kind.TARGETING, Kind.HOOK),
)
"""The order in which a plan shows the kinds of documents."""
