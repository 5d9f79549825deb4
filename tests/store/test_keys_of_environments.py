"""The names of keys say whether they belong to an environment, so that all of them are removed."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from tidegate_server.domain.change import Address
from tidegate_server.domain.evidence import Source
from tidegate_server.domain.kinds import Kind
from tidegate_server.store import keys

PLACE = "production"

FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: function
    for name, function in inspect.getmembers(keys, inspect.isfunction)
    if function.__module__ == keys.__name__
    and not name.startswith("_")
    and name
    not in ("all_of_project", "parts_of", "stays_after_deletion", "is_of_environment", "versions")
}

ARGUMENTS: dict[str, Any] = {
    **{"project": "shop", "scope": "shop", "environment": PLACE, "source": Source.CLIENT},
    **{"kind": Kind.TARGETING, "address": Address(Kind.TARGETING, "checkout", PLACE)},
    **{"step": 3, "steps": [3], "number": 7, "version": 9},
}


def names(function: Callable[..., Any], **changes: Any) -> list[str]:
    """Return the names that a function makes, with one word for all that is not of a project."""
    arguments = {
        name: {**ARGUMENTS, **changes}.get(name, PLACE)
        for name in inspect.signature(function).parameters
    }
    made = function(**arguments)
    return [made] if isinstance(made, str) else list(made)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_a_key_belongs_to_the_environment_that_it_names(name: str) -> None:
    function = FUNCTIONS[name]
    parameters = inspect.signature(function).parameters
    of_environment = "environment" in parameters or "address" in parameters
    for made in names(function):
        if not made.startswith("tg:{shop}:"):
            continue
        assert keys.is_of_environment("shop", made, "staging") is False
        stays = keys.stays_after_deletion("shop", made)
        assert stays or keys.is_of_environment("shop", made, PLACE) is of_environment


@pytest.mark.parametrize(
    ("address", "of_environment"),
    [
        (Address(Kind.FLAG, PLACE), False),
        (Address(Kind.WEBHOOK, PLACE), False),
        (Address(Kind.ENVIRONMENT, PLACE), True),
        (Address(Kind.TARGETING, "checkout", PLACE), True),
        (Address(Kind.TARGETING, PLACE, "staging"), False),
    ],
)
def test_versions_belong_to_the_environment_of_their_document(
    address: Address, of_environment: bool
) -> None:
    name = keys.versions("shop", address)
    assert keys.is_of_environment("shop", name, PLACE) is of_environment
