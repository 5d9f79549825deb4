"""JSON schemas of projects and environments."""

from __future__ import annotations

from marshmallow import fields

from tidegate_server.documents.fields import (
    BoundedList,
    BoundedString,
    Instant,
    Key,
    PatternString,
    StrictBoolean,
)
from tidegate_server.documents.strict_schema import DataclassSchema, Strict
from tidegate_server.domain.projects import ORIGIN, Environment, Project
from tidegate_server.web.document_schemas import StoredAnswer, page_schema, path_key

MAX_ORIGINS = 100


class NamedFields(Strict):
    """A key with a name and a description."""

    key = Key(required=True)
    name = BoundedString(200, load_default="")
    description = BoundedString(4_000, load_default="")


class ProjectBody(NamedFields, DataclassSchema):
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


class EnvironmentBody(EnvironmentFields, DataclassSchema):
    """A request to create an environment."""

    loads_into = Environment


class ProjectUpdate(ProjectBody):
    """A request to replace a project."""

    key = path_key()


class EnvironmentUpdate(EnvironmentBody):
    """A request to replace an environment."""

    key = path_key()


class ProjectAnswer(NamedFields, StoredAnswer):
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
