"""`tidegate change-request`, and --propose."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.calls import Tidegate

SET = ("flag", "set", "checkout", "--default", "on")


def test_a_protected_environment_says_how_to_propose_a_change(protected: Tidegate) -> None:
    refused = protected.refused(*SET)
    assert "--propose" in refused
    assert "approvals required" in protected.ok("environment", "show", "production")


def test_a_change_is_proposed_shown_approved_and_applied(
    protected: Tidegate, colleague: Tidegate
) -> None:
    proposed = protected.ok(*SET, "--propose", "the launch")
    assert "nothing changed yet, another person must approve it" in proposed
    id = proposed.split()[2].rstrip(":")
    assert id in protected.ok("change-request", "list", "--state", "proposed")
    shown = protected.ok("change-request", "show", id)
    assert 'default variant: "off" → "on"' in shown
    assert "0 of 1" in shown
    assert "You proposed this change" in protected.refused("change-request", "approve", id, "--yes")
    assert "must approve it" in protected.refused("change-request", "apply", id)
    protected.ok("change-request", "comment", id, "Please look.")
    assert "--yes" in colleague.refused("change-request", "approve", id, status=2)
    approved = colleague.ok("change-request", "approve", id, "--yes", "--comment", "Good.")
    assert approved == f"Change request {id}: approved.\n"
    applied = protected.ok("change-request", "apply", id, "--reason", "It is Monday.")
    assert applied == f"Change request {id}: applied.\n"
    assert "It is Monday." in protected.ok("change-request", "show", id)
    shown = protected.ok("change-request", "show", id)
    assert "Please look." in shown
    assert "Good." in shown
    targeting = protected.json("flag", "show", "checkout")
    assert "on" in json.dumps(targeting)


def test_every_kind_of_command_proposes(protected: Tidegate, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text((tmp_path / "careful.yaml").read_text().replace("bake: 1h", "bake: 2h"))
    start = ("release", "start", "checkout", "--treatment", "on", "--policy", "careful")
    archive = ("flag", "archive", "checkout")
    for arguments in (
        SET,
        start,
        archive,
        ("policy", "put", str(policy)),
        ("kill", "checkout"),
        ("segment", "create", "crew", "--include", "ann"),
        ("environment", "edit", "production", "--require-approvals", "0"),
    ):
        assert protected.json(*arguments, "--propose", "why")["state"] == "proposed", arguments
    delete = ("flag", "delete", "checkout", "--force", "--yes")
    assert "Change request cr_" in protected.ok(*delete, "--propose", "why")


def test_a_proposal_says_why(protected: Tidegate) -> None:
    assert "why the change is needed" in protected.refused(*SET, "--propose", " ", status=2)


def test_several_operations_are_proposed_from_a_file(
    protected: Tidegate, colleague: Tidegate, tmp_path: Path
) -> None:
    project = protected.variables["TIDEGATE_PROJECT"]
    file = tmp_path / "request.yaml"
    file.write_text(
        "reason: two segments\n"
        "operations:\n"
        f"- {{method: POST, path: /api/v1/projects/{project}/segments, body: {{key: one}}}}\n"
        f"- {{method: POST, path: /api/v1/projects/{project}/segments, body: {{key: two}}}}\n"
    )
    id = protected.json("change-request", "create", str(file))["id"]
    colleague.ok("change-request", "approve", id, "--yes")
    protected.ok("change-request", "apply", id)
    assert {each["key"] for each in protected.json("segment", "list")} == {"one", "two"}


def test_requests_are_rejected_and_withdrawn(protected: Tidegate, colleague: Tidegate) -> None:
    first = protected.json(*SET, "--propose", "one")["id"]
    assert colleague.ok("change-request", "reject", first, "--reason", "no").endswith("rejected.\n")
    second = protected.json(*SET, "--propose", "two")["id"]
    assert protected.ok("change-request", "withdraw", second).endswith("withdrawn.\n")


def test_a_secret_is_shown_to_who_applies_the_request(
    protected: Tidegate, colleague: Tidegate, admin: Tidegate
) -> None:
    project = protected.variables["TIDEGATE_PROJECT"]
    create = ("token", "create", "ci", "--role", "developer", "--project", project)
    id = protected.json(*create, "--propose", "the pipeline")["id"]
    assert 'new token: name: added "ci"' in protected.ok("change-request", "show", id)
    colleague.ok("change-request", "approve", id, "--yes")
    applied = protected.ok("change-request", "apply", id)
    assert applied.startswith("tg_developer_")
    assert id in protected.ok("change-request", "list", "--server")
