"""Runs the provider through scenarios: ours, and those of OpenFeature's specification.

``OPENFEATURE_SPEC`` names a checkout of the specification; without it only ours run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sdk.integrations.openfeature.flags import create_flags
from tests.sdk.integrations.openfeature.scenarios import Scenario, read
from tests.sdk.integrations.openfeature.steps import step
from tests.sdk.integrations.openfeature.world import World
from tests.sdk.server import Environment, FlagServer

OURS = Path(__file__).with_name("tidegate.feature")
SPECIFICATION = "OPENFEATURE_SPEC"
ASSETS = Path("specification", "assets", "gherkin")
FEATURES = ("evaluation", "evaluation_v2", "hooks", "metadata", "events")

UNSUPPORTED = {
    "CACHED reason": "nothing is cached: every value is evaluated",
    "Returns no metadata": "every evaluation has the flag's version",
}
"""Scenarios of the specification about optional features that this provider does not have."""


def scenarios() -> list[Scenario]:
    """Return our scenarios and, if there is a checkout, the specification's."""
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
    create_flags(environment)
    return environment


@pytest.fixture
def world(flags: Environment) -> Iterator[World]:
    world = World(flags)
    yield world
    world.close()


@pytest.mark.parametrize("scenario", scenarios(), ids=str)
def test_scenario(scenario: Scenario, world: World, request: pytest.FixtureRequest) -> None:
    if scenario.name in UNSUPPORTED:
        reason = UNSUPPORTED[scenario.name]
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True, raises=AssertionError))
    step.run(scenario, world)
