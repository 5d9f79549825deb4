"""JSON schemas of projects and environments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import fields, post_load

from tidegate_server.documents.fields import BoundedList, BoundedString, Key, PatternString
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.domain.projects import ORIGIN, Environment, Project
from tidegate_server.web.document_schemas import Page, StoredAnswer, path_key

MOST_ORIGINS = 100


class NamedFields(Strict):
    """A key with a name and a description."""

    key = Key(required=True)
    name = BoundedString(200, load_default="")
    description = BoundedString(4_000, load_default="")


class ProjectBody(NamedFields):
    """A request to create a project."""

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the project."""
        return Project(**data)


class EnvironmentFields(NamedFields):
    """The fields of an environment that people set."""

    allowed_origins = BoundedList(
        PatternString(
            ORIGIN,
            "An origin is a scheme, a host and an optional port, in lower case and without a path: "
            "https://shop.example; * allows every page.",
        ),
        load_default=list,
        max_items=MOST_ORIGINS,
        metadata={"description": "origins of the web pages that may evaluate flags here"},
    )


class EnvironmentBody(EnvironmentFields):
    """A request to create an environment."""

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """Return the environment."""
        return Environment(**{**data, "allowed_origins": tuple(data["allowed_origins"])})


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


class ProjectPage(Page):
    """A page of projects."""

    items = fields.List(fields.Nested(ProjectAnswer), required=True)


class EnvironmentPage(Page):
    """A page of environments."""

    items = fields.List(fields.Nested(EnvironmentAnswer), required=True)
