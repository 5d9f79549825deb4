"""JSON schemas of groups."""

from __future__ import annotations

from marshmallow import fields

from tidegate_server.admin.people.schemas import grants_field
from tidegate_server.documents.fields import BoundedString, Key
from tidegate_server.documents.strict_schema import DataclassSchema, Strict
from tidegate_server.domain.people import Group
from tidegate_server.web.document_schemas import StoredAnswer, page_schema, path_key


class GroupFields(Strict):
    """The fields of a group that admins set."""

    key = Key(required=True)
    name = BoundedString(200, load_default="")
    description = BoundedString(4_000, load_default="")
    grants = grants_field()


class GroupBody(GroupFields, DataclassSchema):
    """A request to create a group."""

    loads_into = Group


class GroupUpdate(GroupBody):
    """A request to replace a group."""

    key = path_key()


class GroupAnswer(GroupFields, StoredAnswer):
    """A group, with the grants that you may change."""

    manageable = fields.Boolean(
        required=True,
        dump_only=True,
        metadata={"description": "whether you may do all that it gives, and so change its members"},
    )


GroupPage = page_schema("GroupPage", GroupAnswer)
