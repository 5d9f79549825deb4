"""Warnings about policies that are valid."""

from __future__ import annotations

from marshmallow import fields

from tidegate_server.documents.strict_schema import Strict


class WarningSchema(Strict):
    """A risk that a valid policy takes."""

    pointer = fields.String(
        required=True, metadata={"description": "a field of the policy, as a JSON pointer"}
    )
    detail = fields.String(required=True)
