"""JSON schemas of a project's configuration, object by object, and of plans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from marshmallow import ValidationError, fields, post_load, validate

from tidegate_server.admin.flags.schemas import FlagBody
from tidegate_server.admin.hooks.schemas import HookBody
from tidegate_server.admin.previews.schemas import PreviewAnswer
from tidegate_server.admin.projects.schemas import EnvironmentBody, ProjectFields
from tidegate_server.admin.segments.schemas import SegmentBody
from tidegate_server.admin.targeting.schemas import TargetingFields
from tidegate_server.admin.webhooks.schemas import WebhookBody
from tidegate_server.documents.fields import (
    AnyJson,
    BoundedString,
    Key,
    StrictBoolean,
    StrictInteger,
)
from tidegate_server.documents.policy_schemas import PolicyBody
from tidegate_server.documents.strict_schema import DataclassSchema, Strict
from tidegate_server.domain.configuration import WantedFlag
from tidegate_server.domain.field_problems import KEY
from tidegate_server.domain.flags import Targeting
from tidegate_server.domain.kinds import Kind

FORMAT = 1
"""The version of the form of a configuration."""

CONFIGURATION_LIMIT = 32 * 1024 * 1024
"""The largest configuration in a request, in bytes: about 30,000 flags."""


class TargetingPart(TargetingFields, DataclassSchema):
    """What a flag serves in one environment."""

    loads_into = Targeting

    @post_load
    def build(self, data: Mapping[str, Any], **kwargs: Any) -> Any:
        """Return the targeting, of a flag without a key."""
        return super().build({"flag": "", **data}, **kwargs)


class ByEnvironment(fields.Dict):
    """An object whose members are named after environments."""

    def __init__(self, part: type[Strict], **kwargs: Any) -> None:
        metadata = {**kwargs.pop("metadata", {}), "propertyNames": {"pattern": f"^{KEY.pattern}$"}}
        super().__init__(keys=Key(), values=fields.Nested(part), metadata=metadata, **kwargs)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValidationError("This must be an object with a member for each environment.")
        loaded: dict[str, Any] = {}
        errors: dict[str, Any] = {}
        for name, part in value.items():
            try:
                assert self.key_field is not None
                assert self.value_field is not None
                self.key_field.deserialize(name)
                loaded[name] = self.value_field.deserialize(part)
            except ValidationError as error:
                errors[name] = error.messages
        if errors:
            raise ValidationError(errors)
        return loaded


class FlagPart(FlagBody):
    """A flag, with what it serves in each environment."""

    archived = StrictBoolean(
        load_default=False,
        metadata={"description": "whether the flag is in no snapshot, but kept"},
    )
    targeting = ByEnvironment(
        TargetingPart,
        load_default=dict,
        metadata={
            "description": "what it serves, by environment; in others it serves what it did, and "
            "a new flag its off variant"
        },
    )

    @post_load
    def build(self, data: Mapping[str, Any], **kwargs: Any) -> Any:
        """Return the wanted flag."""
        rest = dict(data)
        archived, targetings = rest.pop("archived"), rest.pop("targeting")
        definition = super().build(rest, **kwargs)
        by_environment = {
            name: replace(each, flag=definition.key) for name, each in targetings.items()
        }
        return WantedFlag(definition, archived, by_environment)


class HookPart(HookBody):
    """A hook. It has its id from the server, which creates it."""

    id = BoundedString(
        100,
        min_length=1,
        required=True,
        metadata={"description": "from `tidegate hook create`", "pattern": "^[A-Za-z0-9_-]+$"},
    )

    @post_load
    def build(self, data: Mapping[str, Any], **kwargs: Any) -> Any:
        """Return the hook with its id, without its secret."""
        rest = dict(data)
        id = rest.pop("id")
        return replace(super().build(rest, **kwargs), id=id)


class ProjectPart(ProjectFields):
    """The project, and the version of the form of its files. An import does not change it."""

    format = fields.Integer(
        strict=True,
        load_default=FORMAT,
        validate=validate.OneOf([FORMAT]),
        metadata={"description": "the version of this form"},
    )


PARTS: Mapping[Kind, type[Strict]] = {
    Kind.PROJECT: ProjectPart,
    Kind.ENVIRONMENT: EnvironmentBody,
    Kind.FLAG: FlagPart,
    Kind.SEGMENT: SegmentBody,
    Kind.POLICY: PolicyBody,
    Kind.WEBHOOK: WebhookBody,
    Kind.HOOK: HookPart,
}
"""The schema of each kind of object in a configuration."""


class Sections(Strict):
    """A project's configuration. An import leaves alone what a member that is missing would list.

    The path of a webhook's URL may be a credential. An export shows `…` instead, and an import
    with that keeps the present path.
    """

    project = fields.Nested(ProjectPart)
    environments = fields.List(fields.Nested(EnvironmentBody))
    flags = fields.List(fields.Nested(FlagPart))
    segments = fields.List(fields.Nested(SegmentBody))
    policies = fields.List(fields.Nested(PolicyBody))
    webhooks = fields.List(fields.Nested(WebhookBody))
    hooks = fields.List(fields.Nested(HookPart))


class PlanBody(Sections):
    """A configuration to import."""

    body_limit = CONFIGURATION_LIMIT

    prune = StrictBoolean(
        load_default=False,
        metadata={
            "description": "whether to delete flags, segments, policies, webhooks and hooks that "
            "are not listed; environments are never deleted"
        },
    )


class ApplyBody(PlanBody):
    """A configuration to import."""

    plan = BoundedString(
        100,
        load_default="",
        metadata={
            "description": "the `plan` of an earlier answer: the import is refused if it would "
            "now change something else; it may change nothing, because it was made"
        },
    )


class ExportAnswer(Sections):
    """A project's configuration, without fields that have their default."""

    schemas = AnyJson(
        required=True,
        metadata={
            "type": "object",
            "description": "the JSON Schema of each kind of object, for editors",
        },
    )


class PlannedFieldSchema(Strict):
    """A field that would change."""

    pointer = fields.String(required=True, metadata={"description": "JSON pointer in the document"})
    field = fields.String(required=True, metadata={"description": "the pointer in words"})
    text = fields.String(required=True, metadata={"description": "the difference as one line"})
    before = AnyJson(metadata={"description": "the present value; missing if there is none"})
    after = AnyJson(metadata={"description": "the new value; missing if there is none"})
    shortened = fields.List(
        fields.String(),
        metadata={"description": "`before`, `after`: those with the beginning of their JSON only"},
    )


class PlannedDocumentSchema(Strict):
    """A document that would be created, edited or deleted."""

    kind = fields.String(required=True)
    key = fields.String(required=True)
    environment = fields.String(
        required=True, metadata={"description": "of a targeting; otherwise empty"}
    )
    action = fields.String(
        required=True, validate=validate.OneOf(["create", "edit", "delete", "archive", "unarchive"])
    )
    revision = StrictInteger(
        required=True, metadata={"description": "its present revision; 0: it does not exist"}
    )
    pointer = fields.String(
        required=True, metadata={"description": "its place in the request; empty: it has none"}
    )
    changes = fields.List(
        fields.Nested(PlannedFieldSchema),
        required=True,
        metadata={"description": "of an edit: the fields that change"},
    )
    changes_left_out = StrictInteger(
        required=True, metadata={"description": "how many more fields change"}
    )


class PlannedReleaseSchema(Strict):
    """An active release of a flag that would change."""

    flag = fields.String(required=True)
    release = fields.String(required=True)
    state = fields.String(required=True)
    evidence_restarts = StrictBoolean(
        required=True, metadata={"description": "because the value of a compared variant changes"}
    )


class AffectedEnvironmentSchema(Strict):
    """What would change in one environment, and whom it reaches."""

    environment = fields.String(required=True)
    flags = StrictInteger(required=True, metadata={"description": "how many change for the SDKs"})
    segments = StrictInteger(
        required=True, metadata={"description": "how many change for the SDKs"}
    )
    instances = StrictInteger(
        required=True, metadata={"description": "how many live SDK instances there are"}
    )
    killed = fields.List(
        fields.String(),
        required=True,
        metadata={"description": "the flags among them that are killed, and stay killed"},
    )
    releases = fields.List(fields.Nested(PlannedReleaseSchema), required=True)
    users = fields.Nested(
        PreviewAnswer,
        required=True,
        allow_none=True,
        metadata={
            "description": "who of the recently seen users would get another variant of the flags "
            "that exist; null: nobody was seen, or the import was made"
        },
    )


class ObjectSchema(Strict):
    """An object of a project."""

    kind = fields.String(required=True)
    key = fields.String(required=True)


class PlanProblemSchema(Strict):
    """Why the import is not possible."""

    pointer = fields.String(required=True, metadata={"description": "JSON pointer in the request"})
    detail = fields.String(required=True)
    kind = fields.String(required=True)
    key = fields.String(required=True)
    environment = fields.String(required=True)


class PlanAnswer(Strict):
    """What an import would change: its plan."""

    plan = fields.String(
        required=True,
        metadata={"description": "identifies the differences; send it to apply just these"},
    )
    created = StrictInteger(required=True, metadata={"description": "how many documents"})
    edited = StrictInteger(required=True, metadata={"description": "how many documents"})
    deleted = StrictInteger(required=True, metadata={"description": "how many documents"})
    unchanged = StrictInteger(
        required=True, metadata={"description": "how many documents of the configuration"}
    )
    documents = fields.List(fields.Nested(PlannedDocumentSchema), required=True)
    affected = fields.List(fields.Nested(AffectedEnvironmentSchema), required=True)
    kept = fields.List(
        fields.Nested(ObjectSchema),
        required=True,
        metadata={"description": "what the project has and the configuration does not list"},
    )
    problems = fields.List(
        fields.Nested(PlanProblemSchema),
        required=True,
        metadata={"description": "what prevents the import; empty: nothing does"},
    )
    problems_left_out = StrictInteger(
        required=True, metadata={"description": "how many more problems there are"}
    )


class ApplyAnswer(PlanAnswer):
    """What an import has changed."""

    versions = fields.Dict(
        keys=fields.String(),
        values=StrictInteger(),
        required=True,
        metadata={"description": "the new version of each environment that changed"},
    )
