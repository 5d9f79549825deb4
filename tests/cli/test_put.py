"""`show --output json` prints what `put` takes, for documents of every kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings

from tests import configurations
from tests.cli.calls import Tidegate

SHOWN = {
    "segment": "segments",
    "flag": "flags",
    "webhook": "webhooks",
    "policy": "policies",
}

HOOK = ("pager", "--kind", "generic", "--action", "hold", "--flag", "checkout", "-o", "json")


def shown(tidegate: Tidegate, kind: str, key: str) -> str:
    return tidegate.ok(kind, "show", key, "-o", "json")


def settled(text: str) -> Any:
    """Return a document without what moves while nobody changes it."""
    document = json.loads(text)
    for each in (document, document.get("targeting", {})):
        for name in ("updated_at", "revision", "evaluated", "stale", "ladder"):
            each.pop(name, None)
    return document


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=configurations.configurations(["production"]))
def test_what_is_shown_goes_back_in_unchanged(admin: Tidegate, wanted: dict[str, Any]) -> None:
    project = f"p-{uuid4().hex[:10]}"
    admin.ok("project", "create", project)
    admin.ok("environment", "create", "production", "--project", project)
    tidegate = admin.with_variables(TIDEGATE_PROJECT=project)
    for kind, section in SHOWN.items():
        for item in wanted[section]:
            put = dict(item)
            if kind == "flag":
                put["targeting"] = put["targeting"]["production"]
            tidegate.ok(kind, "put", "-", stdin=json.dumps(put))
            first = shown(tidegate, kind, item["key"])
            said = tidegate.ok(kind, "put", "-", stdin=first)
            assert "unchanged" in said, said
            assert shown(tidegate, kind, item["key"]) == first or settled(first) == settled(
                shown(tidegate, kind, item["key"])
            )
            assert (
                json.loads(first)["revision"]
                == json.loads(shown(tidegate, kind, item["key"]))["revision"]
            )


def test_a_killed_flag_with_a_release_goes_back_in_unchanged(checkout: Tidegate) -> None:
    checkout.ok("release", "start", "checkout", "--treatment", "on", "--policy", "careful")
    first = shown(checkout, "flag", "checkout")
    assert json.loads(first)["targeting"]["release"]
    assert "unchanged" in checkout.ok("flag", "put", "-", stdin=first)
    checkout.ok("kill", "checkout", "--reason", "bad")
    killed = shown(checkout, "flag", "checkout")
    assert "unchanged" in checkout.ok("flag", "put", "-", stdin=killed)
    refused = checkout.refused("flag", "put", "-", stdin=first, status=3)
    assert "somebody changed it since" in refused


def test_an_archived_flag_goes_back_in_unchanged(checkout: Tidegate) -> None:
    checkout.ok("flag", "archive", "checkout")
    assert "unchanged" in checkout.ok("flag", "put", "-", stdin=shown(checkout, "flag", "checkout"))
    definition = checkout.ok("flag", "show", "checkout", "--definition", "-o", "json")
    assert "unchanged" in checkout.ok("flag", "put", "-", stdin=definition)


def test_an_environment_and_a_hook_go_back_in_unchanged(checkout: Tidegate) -> None:
    checkout.ok("environment", "edit", "production", "--allow-origin", "https://shop.example")
    environment = shown(checkout, "environment", "production")
    assert "unchanged" in checkout.ok("environment", "put", "-", stdin=environment)
    hook = json.loads(checkout.ok("hook", "create", *HOOK))
    text = shown(checkout, "hook", hook["id"])
    assert "unchanged" in checkout.ok("hook", "put", "-", stdin=text)
    changed = {**json.loads(text), "name": "other"}
    assert "replaced" in checkout.ok("hook", "put", "-", stdin=json.dumps(changed))
    unknown = {**changed, "id": "hook_unknown"}
    assert "hook create" in checkout.refused(
        "hook", "put", "-", stdin=json.dumps(unknown), status=2
    )


def test_a_document_can_be_created_again_as_it_was_shown(tidegate: Tidegate) -> None:
    tidegate.ok("segment", "create", "staff", "--include", "ann")
    text = shown(tidegate, "segment", "staff")
    tidegate.ok("segment", "delete", "staff", "--yes")
    assert "created" in tidegate.ok("segment", "put", "-", stdin=text)
    assert json.loads(shown(tidegate, "segment", "staff"))["included"] == ["ann"]


def test_a_new_webhook_shows_its_secret_once(tidegate: Tidegate) -> None:
    body = json.dumps({"key": "chat", "url": "https://chat.example/x"})
    assert len(tidegate.ok("webhook", "put", "-", stdin=body).strip()) > 20
    assert "unchanged" in tidegate.ok("webhook", "put", "-", stdin=body)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"archived": {"actor": "eve", "reason": "", "at": "2026-01-01T00:00:00Z"}}, "/archived"),
        ({"targeting.killed": {"actor": "eve"}}, "/targeting/killed"),
        ({"targeting.release": "r1"}, "/targeting/release"),
        ({"targeting.flag": "other"}, "/targeting/flag"),
    ],
)
def test_what_only_the_server_sets_is_refused_if_it_differs(
    checkout: Tidegate, change: dict[str, Any], pointer: str
) -> None:
    document = json.loads(shown(checkout, "flag", "checkout"))
    for path, value in change.items():
        *outer, name = path.split(".")
        (document[outer[0]] if outer else document)[name] = value
    refused = checkout.refused("flag", "put", "-", stdin=json.dumps(document), status=2)
    assert f"{pointer}: Only the server sets this" in refused
    assert "Traceback" not in refused


def test_an_old_file_is_refused(checkout: Tidegate, tmp_path: Path) -> None:
    checkout.ok("segment", "create", "staff")
    documents = {
        "segment": shown(checkout, "segment", "staff"),
        "flag": shown(checkout, "flag", "checkout"),
    }
    checkout.ok("segment", "include", "staff", "ann")
    checkout.ok("flag", "disable", "checkout")
    for kind, text in documents.items():
        checkout.refused(kind, "put", "-", stdin=text, status=3)


def test_a_flag_and_what_it_serves_change_together_or_not_at_all(checkout: Tidegate) -> None:
    document = json.loads(shown(checkout, "flag", "checkout"))
    document["name"] = "New"
    document["targeting"]["default"] = {"variant": "purple"}
    refused = checkout.refused("flag", "put", "-", stdin=json.dumps(document))
    assert "/targeting/default/variant: There is no variant 'purple'" in refused
    assert checkout.json("flag", "show", "checkout")["name"] == ""
    document["targeting"]["default"] = {"variant": "on"}
    assert "replaced" in checkout.ok("flag", "put", "-", stdin=json.dumps(document))
    after = checkout.json("flag", "show", "checkout")
    assert (after["name"], after["targeting"]["default"]) == ("New", {"variant": "on"})


def test_an_import_and_a_put_can_be_proposed(checkout: Tidegate, tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    checkout.ok("export", str(folder))
    (folder / "segments").mkdir()
    (folder / "segments/new.yaml").write_text("key: new\n")
    checkout.ok("apply", str(folder), "--yes", "--propose", "from git")
    assert checkout.json("segment", "list") == []
    document = json.loads(shown(checkout, "flag", "checkout"))
    document["name"] = "New"
    checkout.ok("flag", "put", "-", "--propose", "a name", stdin=json.dumps(document))
    assert checkout.json("flag", "show", "checkout")["name"] == ""
    assert len(checkout.json("change-request", "list")) == 2
