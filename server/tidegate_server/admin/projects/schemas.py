"""Projects and environments as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import fields, post_load

from tidegate_server.documents.fields import BoundedList, BoundedString, Key, PatternString
from tidegate_server.documents.strict_schema import Strict
from tidegate_server.domain.projects import ORIGIN, Environment, Project
from tidegate_server.web.document_schemas import Page, StoredAnswer, path_key

MOST_ORIGINS = 100


class NamedThing(Strict):
    """A key, and what people read about it."""

    key = Key(required=True)
    name = BoundedString(200, load_default="")
    description = BoundedString(4_000, load_default="")


class ProjectBody(NamedThing):
    """A project to be."""

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """The project."""
        return Project(**data)


class EnvironmentFields(NamedThing):
    """What people say of an environment."""

    allowed_origins = BoundedList(
        PatternString(
            ORIGIN,
            "An origin is a scheme, a host and perhaps a port, in small letters and without a "
            "path: https://shop.example; * stands for every page.",
        ),
        load_default=list,
        max_items=MOST_ORIGINS,
        metadata={"description": "pages whose browsers may ask for evaluations here"},
    )


class EnvironmentBody(EnvironmentFields):
    """An environment to be."""

    @post_load
    def build(self, data: Mapping[str, Any], **_: Any) -> Any:
        """The environment."""
        return Environment(**{**data, "allowed_origins": tuple(data["allowed_origins"])})


class ProjectUpdate(ProjectBody):
    """A project as it shall be."""

    key = path_key()


class EnvironmentUpdate(EnvironmentBody):
    """An environment as it shall be."""

    key = path_key()


class ProjectAnswer(NamedThing, StoredAnswer):
    """A project."""


class EnvironmentAnswer(EnvironmentFields, StoredAnswer):
    """An environment."""


class ProjectPage(Page):
    """A page of projects."""

    items = fields.List(fields.Nested(ProjectAnswer), required=True)


class EnvironmentPage(Page):
    """A page of environments."""

    items = fields.List(fields.Nested(EnvironmentAnswer), required=True)
