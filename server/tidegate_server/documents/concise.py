"""Documents without what their schema adds anyway, for people to read."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, missing


def without_defaults(schema: Schema, document: dict[str, Any]) -> dict[str, Any]:
    """Return a document without the fields that have their default.

    The schema loads the result into the same value as the document.

    Args:
        schema: an instance of the schema that has dumped the document.
        document: the document in JSON.
    """
    concise: dict[str, Any] = {}
    for attribute, field in schema.fields.items():
        name = field.data_key or attribute
        if name not in document or field.dump_only:
            continue
        value = document[name]
        if field.load_default is missing or value != _default(field):
            concise[name] = _inner(field, value)
    return concise


def _default(field: fields.Field[Any]) -> Any:
    value = field.load_default
    if callable(value):
        value = value()
    return field.serialize("", value, lambda value, *_: value)


def _inner(field: fields.Field[Any], value: Any) -> Any:
    if isinstance(field, fields.Nested) and isinstance(value, dict):
        return without_defaults(field.schema, value)
    if isinstance(field, fields.List) and isinstance(field.inner, fields.Nested):
        return [_inner(field.inner, item) for item in value]
    return value
