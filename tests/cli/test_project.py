"""`tidegate project` and `tidegate environment`: where flags live and where they run."""

from __future__ import annotations

from uuid import uuid4

from tests.cli.calls import Tidegate


def test_projects_and_environments_are_made_and_listed(admin: Tidegate) -> None:
    key = f"p-{uuid4().hex[:10]}"
    said = admin.ok("project", "create", key, "--name", "The shop", "--description", "All of it")
    assert f"`tidegate environment create production --project {key}`" in said
    assert "There is no environment" in admin.run("environment", "list", "--project", key).err
    assert "staging created" in admin.ok("environment", "create", "staging", "--project", key)
    assert "The shop" in admin.ok("project", "list")
    assert key in [each["key"] for each in admin.json("project", "list")]
    made = admin.json("environment", "create", "production", "--name", "P", "--project", key)
    assert (made["key"], made["name"]) == ("production", "P")
    listed = admin.json("environment", "list", "--project", key)
    assert [each["key"] for each in listed] == ["production", "staging"]
    assert "staging" in admin.ok("environment", "list", "--project", key)


def test_what_cannot_be_made_says_why(tidegate: Tidegate) -> None:
    project = tidegate.variables["TIDEGATE_PROJECT"]
    assert "already" in tidegate.refused("project", "create", project)
    assert "/key" in tidegate.refused("project", "create", "Not A Key")
    assert "already" in tidegate.refused("environment", "create", "production")
    assert "no project" in tidegate.refused("environment", "create", "x", "--project", "nowhere")


def test_an_environment_names_the_pages_that_may_ask(tidegate: Tidegate) -> None:
    words = ("environment", "edit", "production")
    said = tidegate.ok(*words, "--allow-origin", "https://shop.example", "--name", "Live")
    assert "production changed" in said
    assert (
        tidegate.ok(*words, "--name", "Live") == "Environment production was like that already.\n"
    )
    edited = tidegate.json(*words, "--allow-origin", "*")
    assert (edited["name"], edited["allowed_origins"]) == ("Live", ["*"])
    assert tidegate.json(*words, "--no-origins")["allowed_origins"] == []
    assert "/allowed_origins/0" in tidegate.refused(*words, "--allow-origin", "shop.example")
    assert "Say what to change" in tidegate.refused(*words, status=2)
