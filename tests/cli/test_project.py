"""`tidegate project` and `tidegate environment`."""

from __future__ import annotations

import json
from uuid import uuid4

from tests.cli.calls import Tidegate


def test_projects_and_environments_are_created_and_listed(admin: Tidegate) -> None:
    key = f"p-{uuid4().hex[:10]}"
    output = admin.ok("project", "create", key, "--name", "The shop", "--description", "All of it")
    assert f"`tidegate environment create production --project {key}`" in output
    assert "No environments" in admin.run("environment", "list", "--project", key).err
    assert "staging created" in admin.ok("environment", "create", "staging", "--project", key)
    assert "The shop" in admin.ok("project", "list")
    assert key in [each["key"] for each in admin.json("project", "list")]
    made = admin.json("environment", "create", "production", "--name", "P", "--project", key)
    assert (made["key"], made["name"]) == ("production", "P")
    listed = admin.json("environment", "list", "--project", key)
    assert [each["key"] for each in listed] == ["production", "staging"]
    assert "staging" in admin.ok("environment", "list", "--project", key)


def test_a_refused_project_or_environment_says_why(tidegate: Tidegate) -> None:
    project = tidegate.variables["TIDEGATE_PROJECT"]
    assert "already" in tidegate.refused("project", "create", project)
    assert "/key" in tidegate.refused("project", "create", "Not A Key")
    assert "already" in tidegate.refused("environment", "create", "production")
    assert "no project" in tidegate.refused("environment", "create", "x", "--project", "nowhere")


def test_an_environment_lists_the_origins_that_may_evaluate_flags(tidegate: Tidegate) -> None:
    arguments = ("environment", "edit", "production")
    output = tidegate.ok(*arguments, "--allow-origin", "https://shop.example", "--name", "Live")
    assert "production updated" in output
    project = tidegate.variables["TIDEGATE_PROJECT"]
    again = tidegate.ok(*arguments, "--name", "Live")
    assert again == f"Environment production unchanged in project {project}.\n"
    edited = tidegate.json(*arguments, "--allow-origin", "*")
    assert (edited["name"], edited["allowed_origins"]) == ("Live", ["*"])
    assert tidegate.json(*arguments, "--no-origins")["allowed_origins"] == []
    assert "/allowed_origins/0" in tidegate.refused(*arguments, "--allow-origin", "shop.example")
    assert "Nothing to change" in tidegate.refused(*arguments, status=2)


def test_a_context_key_is_printed_once_and_replaced(admin: Tidegate) -> None:
    project = f"p-{uuid4().hex[:10]}"
    admin.ok("project", "create", project)
    admin.ok("environment", "create", "production", "--project", project)
    rotate = ("environment", "rotate-key", "production", "--project", project)
    assert "confirm with --yes" in admin.refused(*rotate, status=2)
    first = admin.run(*rotate, "--yes")
    assert first.out.startswith("tgc_")
    assert "The old one" not in first.err
    second = admin.run(*rotate, "--yes")
    assert "The old one is valid until" in second.err
    assert second.out != first.out
    assert admin.json(*rotate, "--yes")["secret"].startswith("tgc_")


def test_an_environment_may_require_reasons(checkout: Tidegate) -> None:
    checkout.ok("environment", "edit", "production", "--require-reason")
    refused = checkout.refused("flag", "set", "checkout", "--default", "on")
    assert "'production' requires a reason" in refused
    assert "--reason" in refused
    checkout.ok("flag", "set", "checkout", "--default", "on", "--reason", "it is 100 % ready: тест")
    assert checkout.json("audit")[-1]["reason"] == "it is 100 % ready: тест"
    checkout.ok("kill", "checkout", "--wait", "0s")
    checkout.refused("environment", "edit", "production", "--no-require-reason")
    checkout.ok("environment", "edit", "production", "--no-require-reason", "--reason", "over")
    checkout.ok("flag", "set", "checkout", "--default", "off")


def test_an_environment_shows_its_freezes(tidegate: Tidegate) -> None:
    freezes = [{"from": "2030-12-24", "to": "2030-12-27", "reason": "holidays"}]
    production = tidegate.json("environment", "show", "production")
    changed = {**production, "freezes": freezes, "timezone": "Europe/Berlin"}
    tidegate.ok("environment", "put", "-", stdin=json.dumps(changed))
    shown = tidegate.ok("environment", "show", "production")
    assert "2030-12-24 to 2030-12-27 (Europe/Berlin): holidays" in shown


def test_an_environment_is_deleted_by_who_types_its_key(tidegate: Tidegate) -> None:
    refused = tidegate.refused("environment", "delete", "production", status=2)
    assert "--confirm production" in refused
    wrong = tidegate.refused("environment", "delete", "production", "--confirm", "prod", status=2)
    assert "nothing was deleted" in wrong
    tidegate.ok("environment", "delete", "production", "--confirm", "production")
    assert "production" not in tidegate.ok("environment", "list")


def test_a_project_is_deleted_by_who_types_its_key(tidegate: Tidegate) -> None:
    project = tidegate.variables["TIDEGATE_PROJECT"]
    tidegate.ok("project", "delete", project, "--confirm", project, "--reason", "moved")
    assert project not in tidegate.ok("project", "list")
