"""The provider carries out scenarios: ours, and the specification's where it is at hand.

``OPENFEATURE_SPEC`` names a checkout of OpenFeature's specification.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sdk.integrations.openfeature.flags import make_flags
from tests.sdk.integrations.openfeature.scenarios import Scenario, read
from tests.sdk.integrations.openfeature.steps import step
from tests.sdk.integrations.openfeature.world import World
from tests.sdk.server import Environment, FlagServer

OURS = Path(__file__).with_name("tidegate.feature")
SPECIFICATION = "OPENFEATURE_SPEC"
ASSETS = Path("specification", "assets", "gherkin")
FEATURES = ("evaluation", "evaluation_v2", "hooks", "metadata", "events")

_NO_METADATA = "a flag has no metadata of its author's: what there is comes from the evaluation"
NOT_OFFERED = {
    "CACHED reason": "nothing is cached: every answer is evaluated",
    "Flag metadata in evaluation details": _NO_METADATA,
    "Returns metadata": _NO_METADATA,
    "Returns no metadata": "every answer tells the flag's version",
}
"""Scenarios of the specification about what a provider may do, and this one does not."""


def scenarios() -> list[Scenario]:
    """Our scenarios and, if there is a checkout of it, the specification's."""
    found = read(OURS)
    if checkout := os.environ.get(SPECIFICATION):
        files = [Path(checkout) / ASSETS / f"{name}.feature" for name in FEATURES]
        official = [scenario for file in files if file.exists() for scenario in read(file)]
        assert official, f"{SPECIFICATION}: there are no scenarios in {Path(checkout) / ASSETS}"
        found += official
    return found


@pytest.fixture(scope="module")
def flags(flag_server: FlagServer) -> Environment:
    environment = flag_server.environment()
    make_flags(environment)
    return environment


@pytest.fixture
def world(flags: Environment) -> Iterator[World]:
    world = World(flags)
    yield world
    world.close()


@pytest.mark.parametrize("scenario", scenarios(), ids=str)
def test_scenario(scenario: Scenario, world: World, request: pytest.FixtureRequest) -> None:
    if scenario.name in NOT_OFFERED:
        reason = NOT_OFFERED[scenario.name]
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True, raises=AssertionError))
    step.carry_out(scenario, world)
