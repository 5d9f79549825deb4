"""`tidegate token`: who may do what."""

from __future__ import annotations

from tests.cli.calls import Tidegate


def test_a_new_token_is_alone_on_standard_output(tidegate: Tidegate) -> None:
    said = tidegate.run("token", "create", "ci", "--role", "writer")
    assert said.out.startswith("tg_writer_")
    assert said.out.count("\n") == 1
    assert "for ci: writer, the whole server" in said.err
    assert "shown this once" in said.err
    assert tidegate.having(TIDEGATE_TOKEN=said.out.strip()).json("flag", "list") == []


def test_an_sdk_token_is_for_one_environment(tidegate: Tidegate) -> None:
    project = tidegate.variables["TIDEGATE_PROJECT"]
    made = tidegate.json("token", "create", "shop", "--role", "sdk")
    assert (made["project"], made["environment"]) == (project, "production")
    words = ("token", "create", "shop", "--role", "sdk", "--project", project)
    made = tidegate.json(*words, "--environment", "production")
    assert (made["project"], made["environment"]) == (project, "production")
    said = tidegate.having(TIDEGATE_TOKEN=made["secret"]).refused("flag", "list")
    assert "gets evaluations only" in said
    assert "/environment" in tidegate.refused(*words, "--environment", "nowhere")


def test_a_client_token_may_be_limited(tidegate: Tidegate) -> None:
    words = ("token", "create", "web", "--role", "client", "--rate-limit", "600")
    made = tidegate.json(*words)
    assert made["secret"].startswith("tg_client_")
    assert (made["environment"], made["rate_limit"]) == ("production", 600)


def test_a_limited_token_reaches_its_place_only(tidegate: Tidegate) -> None:
    project = tidegate.variables["TIDEGATE_PROJECT"]
    words = ("token", "create", "r", "--role", "reader", "--project", project)
    limited = tidegate.having(TIDEGATE_TOKEN=tidegate.ok(*words).strip())
    assert [each["key"] for each in limited.json("project", "list")] == [project]
    said = limited.refused("flag", "list", "--project", "default")
    assert f"is for project '{project}'" in said
    assert "The token is from TIDEGATE_TOKEN" in said


def test_tokens_are_listed_without_their_secrets(tidegate: Tidegate) -> None:
    made = tidegate.json("token", "create", "ci", "--role", "admin")
    secret = made["secret"].rpartition("_")[2]
    listed = tidegate.ok("token", "list")
    assert made["id"] in listed
    for said in (listed, tidegate.ok("token", "list", "-o", "json"), tidegate.ok("audit")):
        assert secret not in said


def test_a_revoked_token_is_named_and_gone(tidegate: Tidegate) -> None:
    id = tidegate.json("token", "create", "ci", "--role", "admin")["id"]
    said = tidegate.refused("token", "revoke", id, status=2)
    assert f"Revoke the admin token of ci ({id})?" in said
    assert "is revoked" in tidegate.ok("token", "revoke", id, "--yes")
    assert "no token" in tidegate.refused("token", "revoke", id, "--yes")


def test_the_last_admin_token_stays(admin: Tidegate) -> None:
    ids = [each["id"] for each in admin.json("token", "list") if each["role"] == "admin"]
    for id in ids:
        if id != "tests":
            admin.ok("token", "revoke", id, "--yes")
    assert "last token that may administer" in admin.refused("token", "revoke", "tests", "--yes")


def test_a_token_that_is_not_known_is_never_shown(tidegate: Tidegate) -> None:
    unknown = "tg_admin_0123456789ab_0123456789abcdef0123456789abcdef"
    said = tidegate.having(TIDEGATE_TOKEN=unknown).refused("flag", "list")
    assert "is unknown or was deleted" in said
    assert unknown not in said
    garbled = tidegate.having(TIDEGATE_TOKEN="secret secret").refused("flag", "list", status=2)
    assert "no token" in garbled
    assert "secret secret" not in garbled
