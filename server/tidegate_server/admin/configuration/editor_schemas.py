"""The JSON Schema of each kind of object in a configuration, from the schemas that validate it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from tidegate.evaluation import operators

from tidegate_server.admin.configuration.schemas import PARTS
from tidegate_server.documents.fields import condition_schema
from tidegate_server.domain.kinds import Kind
from tidegate_server.web.openapi import OPENAPI_VERSION, PROPERTIES

DIALECT = "https://json-schema.org/draft/2020-12/schema"
COMPONENTS = "#/components/schemas/"
DEFINITIONS = "#/$defs/"


@cache
def editor_schemas() -> dict[str, dict[str, Any]]:
    """Return the schemas by kind: ``project``, ``environment``, ``flag`` and so on.

    Each stands alone, so that an editor needs one file only.
    """
    plugin = MarshmallowPlugin()
    spec = APISpec("", "", OPENAPI_VERSION, plugins=[plugin])
    assert plugin.converter is not None
    for property_of in PROPERTIES:
        plugin.converter.add_attribute_function(property_of)  # type: ignore[no-untyped-call]
    spec.components.schema("Condition", condition_schema(sorted(operators.OPERATORS)))
    for kind, schema in PARTS.items():
        spec.components.schema(kind.value, schema=schema)
    components: dict[str, Any] = spec.to_dict()["components"]["schemas"]
    return {kind.value: _standing_alone(kind, components) for kind in PARTS}


def _standing_alone(kind: Kind, components: dict[str, Any]) -> dict[str, Any]:
    needed = _reachable(kind.value, components)
    root = _rewritten(components[kind.value])
    names = sorted(needed - {kind.value})
    return {
        "$schema": DIALECT,
        "$id": f"urn:tidegate:file:{kind}:1",
        "title": f"A {kind} in a project's configuration",
        **root,
        "$defs": {name: _rewritten(components[name]) for name in names},
    }


def _reachable(name: str, components: dict[str, Any]) -> set[str]:
    found: set[str] = set()
    waiting = [name]
    while waiting:
        each = waiting.pop()
        if each not in found:
            found.add(each)
            waiting += _references(components[each])
    return found


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        reference = value.get("$ref")
        if isinstance(reference, str):
            yield reference.removeprefix(COMPONENTS)
        for each in value.values():
            yield from _references(each)
    elif isinstance(value, list):
        for each in value:
            yield from _references(each)


def _rewritten(value: Any) -> Any:
    """Return a schema whose references are to its own definitions."""
    if isinstance(value, dict):
        return {
            name: each.replace(COMPONENTS, DEFINITIONS)
            if name == "$ref" and isinstance(each, str)
            else _rewritten(each)
            for name, each in value.items()
        }
    return [_rewritten(each) for each in value] if isinstance(value, list) else value
