"""Simulated releases, told in scenes: answered as releases are, and the same each time."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http_calls import PRODUCTION, Caller
from tests.people import join

HEALTHY, HARMFUL = (f"/api/v1/demonstrations/{story}" for story in ("healthy", "harmful"))


def scene(admin: Caller, story: str, number: int = 1) -> dict[str, Any]:
    answer = admin.get(f"{story}?scene={number}")
    assert answer.status_code == 200, answer.text
    assert answer.json is not None
    found: dict[str, Any] = answer.json
    return found


def last_scene(admin: Caller, story: str) -> dict[str, Any]:
    return scene(admin, story, scene(admin, story)["scenes"])


def test_a_healthy_release_opens_every_stage_and_completes(admin: Caller) -> None:
    last = last_scene(admin, HEALTHY)
    assert last["release"]["state"] == "completed"
    stages = [each["details"]["stage"] for each in reversed(last["moves"])]
    assert stages[:-1] == [2, 3, 4, 5]
    assert last["moves"][0]["action"] == "release.complete"


def test_a_harmful_release_is_rolled_back_before_half_have_it(admin: Caller) -> None:
    last = last_scene(admin, HARMFUL)
    assert last["release"]["state"] == "rolled_back"
    assert last["moves"][0]["action"] == "release.rollback"
    assert last["moves"][0]["details"]["percentage_before"] <= 25
    users = last["release"]["progress"]["users"]
    assert users["spared"]["estimate"] > users["harmed"]["estimate"]


@pytest.mark.parametrize("story", [HEALTHY, HARMFUL])
def test_each_scene_has_everything_until_then_and_nothing_later(admin: Caller, story: str) -> None:
    before = 0
    for number in range(1, scene(admin, story)["scenes"] + 1):
        found = scene(admin, story, number)
        assert found["series"]["kept"] > before
        before = found["series"]["kept"]
        assert found["series"]["points"][-1]["at"] == found["at"]
        assert all(move["at"] <= found["at"] for move in found["moves"])
        assert all(hold["ended_at"] <= found["at"] for hold in found["holds"])


def test_a_story_that_there_is_not_is_not_found(admin: Caller) -> None:
    assert admin.get("/api/v1/demonstrations/tragic").status_code == 404
    assert admin.get(f"{HEALTHY}?scene=1000").status_code == 404
    assert admin.get(f"{HEALTHY}?scene=0").status_code == 422


def test_whoever_may_read_anything_may_look_and_nothing_is_made(app: Any, admin: Caller) -> None:
    viewer = join(app, admin, "vera@example.com", {"role": "viewer", "project": "default"})
    assert scene(viewer, HEALTHY)["scene"] == 1
    releases = admin.get(f"{PRODUCTION}/releases").json
    assert releases is not None
    assert releases["items"] == []
