"""Warnings about documents that are valid."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from tidegate_server.documents.strict_schema import Strict


class WarningSchema(Strict):
    """What may be a mistake in a valid document, or a risk that it takes."""

    pointer = fields.String(
        required=True, metadata={"description": "a field of the document, as a JSON pointer"}
    )
    detail = fields.String(required=True)


def warnings_field(description: str) -> fields.List[Any]:
    """Return the field of an answer with its warnings."""
    return fields.List(
        fields.Nested(WarningSchema),
        required=True,
        dump_only=True,
        metadata={"description": description},
    )
