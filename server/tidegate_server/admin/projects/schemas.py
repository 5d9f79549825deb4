"""JSON schemas of projects and environments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import fields, post_load, validate

from tidegate_server.documents.fields import (
    BoundedList,
    BoundedString,
    Instant,
    Key,
    PatternString,
    StrictBoolean,
    StrictInteger,
    query_boolean,
)
from tidegate_server.documents.gate_schemas import FreezeSchema
from tidegate_server.documents.strict_schema import DataclassSchema, Strict
from tidegate_server.domain.projects import ORIGIN, Environment, Project
from tidegate_server.web.document_schemas import StoredAnswer, page_schema, path_key

MAX_ORIGINS = 100
MAX_DAYS = 3_650
MAX_APPROVALS = 10


class NamedFields(Strict):
    """A key with a name and a description."""

    key = Key(required=True)
    name = BoundedString(200, load_default="")
    description = BoundedString(4_000, load_default="")


class ProjectFields(NamedFields):
    """The fields of a project that people set."""

    deletable_after_days = StrictInteger(
        load_default=7,
        validate=validate.Range(min=0, max=MAX_DAYS),
        metadata={
            "description": "how many days no application may have asked for an archived flag "
            "before it can be deleted without force"
        },
    )
    stale_after_days = StrictInteger(
        load_default=30,
        validate=validate.Range(min=1, max=MAX_DAYS),
        metadata={"description": "after how many days a flag that does nothing new is stale"},
    )


class ProjectBody(ProjectFields, DataclassSchema):
    """A request to create a project."""

    loads_into = Project


class EnvironmentFields(NamedFields):
    """The fields of an environment that people set."""

    allowed_origins = BoundedList(
        PatternString(
            ORIGIN,
            "An origin is a scheme, a host and an optional port, in lower case and without a path: "
            "https://shop.example; * allows every page.",
        ),
        load_default=list,
        max_items=MAX_ORIGINS,
        metadata={"description": "origins of the web pages that may evaluate flags here"},
    )
    require_reason = StrictBoolean(
        load_default=False,
        metadata={
            "description": "whether every change needs a reason, except kills, pauses and rollbacks"
        },
    )
    required_approvals = StrictInteger(
        load_default=0,
        validate=validate.Range(
            min=0,
            max=MAX_APPROVALS,
            error="Between 0 and 10 people approve a change; 0: it needs no approval.",
        ),
        metadata={
            "description": "how many other people must approve a change of targeting, segments, "
            "policies or permissions here; 0: the environment is not protected"
        },
    )

    report_seen_users = StrictBoolean(
        load_default=True,
        metadata={
            "description": "whether SDKs report a sample of recently seen users, under hashes of "
            "their keys and with the attributes that rules compare, for previews of changes"
        },
    )
    freezes = BoundedList(
        fields.Nested(FreezeSchema),
        load_default=list,
        max_items=MAX_ORIGINS,
        metadata={"description": "when no release opens further and no scheduled change runs"},
    )
    timezone = BoundedString(
        100,
        min_length=1,
        load_default="UTC",
        metadata={"description": "IANA name; of the bounds of freezes that have no offset"},
    )


class EnvironmentBody(EnvironmentFields, DataclassSchema):
    """A request to create an environment."""

    loads_into = Environment


@dataclass(frozen=True, slots=True)
class DeletionRequest:
    """A request to delete an environment or a project.

    ``force``: although applications use it; then ``confirm`` is its key.
    """

    force: bool = False
    confirm: str = ""


class DeletionQuery(Strict):
    """The query of the deletion of an environment or a project."""

    force = query_boolean("true: delete it although applications use it")
    confirm = BoundedString(
        100, load_default="", metadata={"description": "with force, its key once more"}
    )

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the request."""
        return DeletionRequest(**data)


class ProjectUpdate(ProjectBody):
    """A request to replace a project."""

    key = path_key()


class EnvironmentUpdate(EnvironmentBody):
    """A request to replace an environment."""

    key = path_key()


class ProjectAnswer(ProjectFields, StoredAnswer):
    """A project."""


class EnvironmentAnswer(EnvironmentFields, StoredAnswer):
    """An environment."""


class ContextKeyAnswer(EnvironmentAnswer):
    """An environment with its new context key."""

    secret = fields.String(
        required=True,
        dump_only=True,
        metadata={"description": "the context key, which signs targeting keys; shown only once"},
    )
    old_key_until = Instant(
        attribute="old_key_until_ms",
        required=True,
        allow_none=True,
        metadata={"description": "how long the key before this one is valid; null: none was"},
    )


ProjectPage = page_schema("ProjectPage", ProjectAnswer)


EnvironmentPage = page_schema("EnvironmentPage", EnvironmentAnswer)
