"""`tidegate hook`: hooks for alerts."""

from __future__ import annotations

import json

import urllib3

from tests.cli.calls import Tidegate
from tests.cli.conftest import RunningServer

CREATE = ("hook", "create", "checkout errors", "--flag", "checkout")


def test_only_the_hooks_secret_is_on_standard_output_and_it_works(
    checkout: Tidegate, server: RunningServer
) -> None:
    assert "No hooks" in checkout.run("hook", "list").err
    result = checkout.run(*CREATE, "--kind", "generic", "--action", "kill")
    assert (result.status, result.out[:4], result.out.count("\n")) == (0, "tgh_", 1)
    secret = result.out.strip()
    (listed,) = checkout.json("hook", "list")
    assert f"{server.url}{listed['path']}" in result.err
    for arguments in (("hook", "show", listed["id"]), ("hook", "list"), ("audit",)):
        assert secret not in checkout.ok(*arguments) + checkout.ok(*arguments, "-o", "json")

    answer = urllib3.request(
        "POST",
        f"{server.url}{listed['path']}",
        body=json.dumps({"status": "firing", "summary": "queue is full"}).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {secret}"},
    )
    assert answer.status == 200
    assert answer.json()["outcomes"][0]["done"]
    assert "hook checkout errors" in checkout.ok("audit")
    assert "killed" in checkout.ok("flag", "show", "checkout")


def test_a_hook_is_edited_and_deleted(checkout: Tidegate) -> None:
    assert "Give --kind and --action" in checkout.refused(*CREATE, status=2)
    made = checkout.json(*CREATE, "--kind", "alertmanager", "--action", "hold", "--disabled")
    id = made["id"]
    assert (made["enabled"], made["environment"]) == (False, "production")
    arguments = ("hook", "edit", id, "--enable", "--action", "rollback")
    assert "revision 2" in checkout.ok(*arguments)
    assert "unchanged" in checkout.ok(*arguments)
    shown = checkout.json("hook", "show", id)
    assert (shown["enabled"], shown["action"], shown["flags"]) == (True, "rollback", ["checkout"])
    assert "alertmanager" in checkout.ok("hook", "show", id)
    assert "Nothing to change" in checkout.refused("hook", "edit", id, status=2)
    assert "/flags/0" in checkout.refused("hook", "edit", id, "--flag", "nothing")
    assert "confirm with --yes" in checkout.refused("hook", "delete", id, status=2)
    checkout.ok("hook", "delete", id, "--yes")
    assert checkout.json("hook", "list") == []
