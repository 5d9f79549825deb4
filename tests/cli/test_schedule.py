"""`tidegate schedule`, and --at."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.cli.calls import Tidegate, wait_until

SET = ("flag", "set", "checkout", "--default", "on")


def test_a_change_is_scheduled_shown_and_cancelled(checkout: Tidegate) -> None:
    made = checkout.ok(
        *SET, "--at", "2027-05-01T09:00", "--timezone", "Europe/Berlin", "--reason", "the launch"
    )
    assert "nothing changed yet, it runs at 2027-05-01 07:00:00Z" in made
    id = made.split()[2].rstrip(":")
    assert "targeting.edit checkout" in checkout.ok("schedule", "list")
    shown = checkout.ok("schedule", "show", id)
    assert 'default variant: "off" → "on"' in shown
    assert checkout.ok("schedule", "cancel", id) == f"Scheduled change {id} cancelled.\n"
    assert [each["state"] for each in checkout.json("schedule", "list")] == ["cancelled"]


def test_a_scheduled_change_is_made_by_the_server(checkout: Tidegate) -> None:
    at = (datetime.now(UTC) + timedelta(seconds=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    id = checkout.json(*SET, "--at", at, "--reason", "the launch")["id"]

    def made() -> bool:
        time.sleep(0.2)
        return bool(checkout.json("schedule", "show", id)["state"] == "done")

    wait_until("the change is made", made)
    assert '"on"' in json.dumps(checkout.json("flag", "show", "checkout"))


def test_a_repeated_change_comes_from_a_file(checkout: Tidegate, tmp_path: Path) -> None:
    project = checkout.variables["TIDEGATE_PROJECT"]
    path = f"/api/v1/projects/{project}/environments/production/flags/checkout/kill"
    file = tmp_path / "night.yaml"
    file.write_text(
        "reason: not at night\n"
        "every: {time: '22:00', days: [sat, sun]}\n"
        "timezone: Europe/Berlin\n"
        f"operations:\n- {{method: POST, path: {path}, body: {{}}}}\n"
    )
    made = checkout.json("schedule", "create", str(file))
    assert len(made["next_runs"]) == 5
    assert "sat, sun at 22:00 Europe/Berlin" in checkout.ok("schedule", "show", made["id"])


def test_a_schedule_is_proposed_for_a_protected_environment(protected: Tidegate) -> None:
    arguments = (*SET, "--at", "2027-05-01T09:00", "--reason", "the launch")
    assert "--propose" in protected.refused(*arguments)
    proposed = protected.json(*arguments, "--propose", "the launch")
    assert proposed["actions"][0]["action"] == "scheduled_change.create"


def test_wrong_times_are_refused(checkout: Tidegate) -> None:
    assert "/at" in checkout.refused(*SET, "--at", "soon", "--reason", "x")
    assert "--at" in checkout.refused(*SET, "--timezone", "UTC", status=2)
    assert "/reason" in checkout.refused(*SET, "--at", "2027-05-01T09:00")
