"""`--preview` on commands that change something."""

from __future__ import annotations

from pathlib import Path

import tidegate as sdk

from tests.cli.calls import Tidegate, wait_until
from tests.cli.conftest import RunningServer
from tests.cli.test_kill import sdk_token


def test_a_preview_says_who_changes_sides_and_changes_nothing(
    checkout: Tidegate, server: RunningServer
) -> None:
    token = sdk_token(checkout)
    empty = checkout.ok("flag", "disable", "checkout", "--preview")
    assert "No user was seen in the last hour" in empty
    client = sdk.Client(server.url, token)
    try:
        wait_until("it reports", lambda: checkout.json("instances") != [])
        client.flush()
        for number in range(40):
            with client.operation(f"user-{number}"):
                pass
        client.flush()
        wait_until("users are seen", lambda: "40 recently" in preview(checkout))
    finally:
        client.close()
    before = checkout.json("flag", "show", "checkout")
    shown = preview(checkout)
    assert "40 of 40 recently seen users (100.0 %)" in shown
    assert "checkout" in shown.splitlines()[-1]
    checkout.ok("segment", "create", "staff")
    found = checkout.json("segment", "include", "staff", "user-1", "--preview")
    assert (found["seen"], found["changed"]) == (40, 0)
    assert checkout.json("flag", "show", "checkout") == before
    checkout.ok("segment", "include", "staff", "user-1", "user-2", "--reason", "seen")
    assert "production: 2 of 40 recently seen users (5.0 %)" in checkout.ok(
        "segment", "show", "staff"
    )


def test_a_plan_of_files_says_who_changes_sides(
    checkout: Tidegate, server: RunningServer, tmp_path: Path
) -> None:
    client = sdk.Client(server.url, sdk_token(checkout))
    try:
        wait_until("it reports", lambda: checkout.json("instances") != [])
        client.flush()
        for number in range(40):
            with client.operation(f"user-{number}"):
                pass
        client.flush()
        wait_until("users are seen", lambda: "40 recently" in preview(checkout))
    finally:
        client.close()
    folder = tmp_path / "shop"
    checkout.ok("export", str(folder))
    file = folder / "flags" / "checkout.yaml"
    file.write_text(file.read_text().replace('variant: "off"', 'variant: "on"'))
    new = file.read_text().replace("key: checkout", "key: another")
    (folder / "flags" / "another.yaml").write_text(new)
    shown = checkout.ok("plan", str(folder))
    assert "  40 of 40 recently seen users (100.0 %) would get another variant" in shown
    affected = {
        each["environment"]: each for each in checkout.json("plan", str(folder))["affected"]
    }
    assert affected["production"]["users"]["by"] == [
        {"flag": "checkout", "from": "off", "to": "on", "count": 40}
    ]


def preview(checkout: Tidegate) -> str:
    return checkout.ok("flag", "set", "checkout", "--default", "on", "--preview")
