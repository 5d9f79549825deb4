"""A variant without a value gives the caller's default."""

from __future__ import annotations

from typing import Any

import pytest
from tidegate import Client

VALUES: dict[str, list[Any]] = {
    "boolean": [True, False],
    "string": ["a", "b"],
    "number": [1, 2],
    "object": [{}, {"a": 1}],
}


def flag(type_: str) -> dict[str, Any]:
    values = [*VALUES[type_], None]
    return {
        "key": type_,
        "type": type_,
        "version": 1,
        "salt": type_,
        "variants": [{"key": f"v{at}", "value": value} for at, value in enumerate(values)],
        "enabled": True,
        "off_variant": "v0",
        "default": {"variant": "v2"},
    }


@pytest.fixture
def client() -> Client:
    return Client.offline(
        {
            "schema": 1,
            "project": "shop",
            "environment": "production",
            "version": 1,
            "flags": {type_: flag(type_) for type_ in VALUES},
            "segments": {},
        }
    )


@pytest.mark.parametrize(
    ("ask", "key", "default"),
    [
        ("boolean", "boolean", True),
        ("string", "string", "own"),
        ("integer", "number", 7),
        ("float", "number", 0.5),
        ("object", "object", {"own": True}),
    ],
)
def test_the_default_is_returned_with_the_variant(
    client: Client, ask: str, key: str, default: Any
) -> None:
    assert getattr(client, ask)(key, default) == default
    details = getattr(client, f"{ask}_details")(key, default)
    assert (details.value, details.variant, details.error_code) == (default, "v2", None)


def test_the_default_is_returned_inside_an_operation(client: Client) -> None:
    with client.operation():
        assert client.boolean("boolean", True) is True
