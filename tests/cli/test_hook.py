"""`tidegate hook`: what alerts may do, and to which flags."""

from __future__ import annotations

import json

import urllib3

from tests.cli.calls import Tidegate
from tests.cli.conftest import Served

CREATE = ("hook", "create", "checkout errors", "--flag", "checkout")


def test_a_hooks_secret_is_alone_on_standard_output_and_works(
    checkout: Tidegate, served: Served
) -> None:
    assert "No hooks" in checkout.run("hook", "list").err
    said = checkout.run(*CREATE, "--kind", "generic", "--action", "kill")
    assert (said.status, said.out[:4], said.out.count("\n")) == (0, "tgh_", 1)
    secret = said.out.strip()
    (listed,) = checkout.json("hook", "list")
    assert f"{served.url}{listed['path']}" in said.err
    for words in (("hook", "show", listed["id"]), ("hook", "list"), ("audit",)):
        assert secret not in checkout.ok(*words) + checkout.ok(*words, "-o", "json")

    answer = urllib3.request(
        "POST",
        f"{served.url}{listed['path']}",
        body=json.dumps({"status": "firing", "summary": "queue is full"}).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {secret}"},
    )
    assert answer.status == 200
    assert answer.json()["outcomes"][0]["done"]
    assert "hook checkout errors" in checkout.ok("audit")
    assert "killed" in checkout.ok("flag", "show", "checkout")


def test_a_hook_is_changed_and_deleted(checkout: Tidegate) -> None:
    assert "Say --kind and --action" in checkout.refused(*CREATE, status=2)
    made = checkout.json(*CREATE, "--kind", "alertmanager", "--action", "hold", "--disabled")
    id = made["id"]
    assert (made["enabled"], made["environment"]) == (False, "production")
    words = ("hook", "edit", id, "--enable", "--action", "rollback")
    assert "revision 2" in checkout.ok(*words)
    assert "like that already" in checkout.ok(*words)
    shown = checkout.json("hook", "show", id)
    assert (shown["enabled"], shown["action"], shown["flags"]) == (True, "rollback", ["checkout"])
    assert "alertmanager" in checkout.ok("hook", "show", id)
    assert "Say what to change" in checkout.refused("hook", "edit", id, status=2)
    assert "/flags/0" in checkout.refused("hook", "edit", id, "--flag", "nothing")
    assert "add --yes" in checkout.refused("hook", "delete", id, status=2)
    checkout.ok("hook", "delete", id, "--yes")
    assert checkout.json("hook", "list") == []
