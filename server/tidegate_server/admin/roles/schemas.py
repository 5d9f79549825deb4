"""JSON schemas of custom roles."""

from __future__ import annotations

from marshmallow import fields

from tidegate_server.documents.fields import BoundedList, BoundedString, Key
from tidegate_server.documents.strict_schema import DataclassSchema, Strict
from tidegate_server.domain.people import CustomRole
from tidegate_server.domain.permissions import Permission
from tidegate_server.web.document_schemas import StoredAnswer, page_schema, path_key


class RoleFields(Strict):
    """The fields of a custom role that admins set."""

    key = Key(required=True)
    name = BoundedString(200, load_default="")
    description = BoundedString(4_000, load_default="")
    permissions = BoundedList(
        fields.Enum(Permission, by_value=True), required=True, max_items=len(Permission)
    )


class RoleBody(RoleFields, DataclassSchema):
    """A request to create a custom role."""

    loads_into = CustomRole


class RoleUpdate(RoleBody):
    """A request to replace a custom role."""

    key = path_key()


class RoleAnswer(RoleFields, StoredAnswer):
    """A custom role."""


RolePage = page_schema("RolePage", RoleAnswer)
