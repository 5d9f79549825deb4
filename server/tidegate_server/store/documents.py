"""The stored form of documents: a revision, a time, and JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import msgspec
from tidegate import wire
from tidegate.model import Condition, Tolerance
from tidegate.runtime.decoders import new_decoder

from tidegate_server.decisions.progress import Progress
from tidegate_server.domain.change import Stored
from tidegate_server.domain.change_requests import ChangeRequest
from tidegate_server.domain.deletions import Deletion
from tidegate_server.domain.error_rate import as_kept_by_release, with_error_rate_check
from tidegate_server.domain.flags import FlagDefinition, SegmentDefinition, Targeting
from tidegate_server.domain.hooks import Hook
from tidegate_server.domain.identity_providers import IdentityProvider
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.people import (
    Credential,
    CustomRole,
    EmailAddress,
    Group,
    Identity,
    Invitation,
    Person,
)
from tidegate_server.domain.policy import Policy
from tidegate_server.domain.projects import Environment, Project
from tidegate_server.domain.release import Release
from tidegate_server.domain.saved_contexts import SavedContext
from tidegate_server.domain.scheduled_changes import ScheduledChange
from tidegate_server.domain.shares import Share
from tidegate_server.domain.tokens import Token
from tidegate_server.domain.webhooks import Webhook

CLASSES: dict[Kind, type] = {
    Kind.PROJECT: Project,
    Kind.ENVIRONMENT: Environment,
    Kind.FLAG: FlagDefinition,
    Kind.SEGMENT: SegmentDefinition,
    Kind.POLICY: Policy,
    Kind.WEBHOOK: Webhook,
    Kind.HOOK: Hook,
    Kind.SHARE: Share,
    Kind.CONTEXT: SavedContext,
    Kind.TARGETING: Targeting,
    Kind.RELEASE: Release,
    Kind.PROGRESS: Progress,
    Kind.CHANGE_REQUEST: ChangeRequest,
    Kind.DELETION: Deletion,
    Kind.SCHEDULED_CHANGE: ScheduledChange,
    Kind.TOKEN: Token,
    Kind.PERSON: Person,
    Kind.GROUP: Group,
    Kind.ROLE: CustomRole,
    Kind.CREDENTIAL: Credential,
    Kind.EMAIL: EmailAddress,
    Kind.INVITATION: Invitation,
    Kind.IDENTITY_PROVIDER: IdentityProvider,
    Kind.IDENTITY: Identity,
}


FIRST_TOLERANCE = Tolerance(0.1, 0.0)
"""The default while policies could leave the check of the error rate out silently."""


def _complete_policy(policy: Policy) -> Policy:
    return with_error_rate_check(policy, FIRST_TOLERANCE)


def _complete_release(release: Release) -> Release:
    policy = as_kept_by_release(release.policy)
    return release if policy is release.policy else replace(release, policy=policy)


COMPLETIONS: Mapping[Kind, Callable[[Any], Any]] = {
    Kind.POLICY: _complete_policy,
    Kind.RELEASE: _complete_release,
}
"""What documents of earlier versions lack: the check that policies could leave out silently.

A policy gets it, for the releases that start from now on. A release keeps its own checks.
"""


def encode(document: Any) -> bytes:
    """Return a dataclass as JSON, field by field."""
    return msgspec.json.encode(document)


def decode(kind: Kind, value: bytes) -> Stored:
    """Return a document from its stored form, ``<revision> <updated_ms> <json>``."""
    revision, updated_ms, json = value.split(b" ", 2)
    return Stored(decode_json(kind, json), int(revision), int(updated_ms))


def decode_all(kind: Kind, values: Mapping[bytes, bytes]) -> dict[str, Stored]:
    """Return documents by key from a hash of their stored forms."""
    return {key.decode(): decode(kind, value) for key, value in values.items()}


def decode_json(kind: Kind, json: bytes | str) -> Any:
    """Return a document from its JSON."""
    return completed(kind, _decoder(kind).decode(json))


def completed(kind: Kind, document: Any) -> Any:
    """Return a document with what earlier versions left out of its kind."""
    complete = COMPLETIONS.get(kind)
    return document if complete is None else complete(document)


@cache
def _decoder(kind: Kind) -> msgspec.json.Decoder[Any]:
    return new_decoder(CLASSES[kind], _decode_condition)


def _decode_condition(type_: type, value: Any) -> Any:
    if type_ is Condition:
        return wire.parse_stored_condition(value)
    raise NotImplementedError(f"no document contains a {type_}")
