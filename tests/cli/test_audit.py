"""`tidegate audit`: the audit log."""

from __future__ import annotations

import json
from typing import Any

import redis
from tidegate_server.store import keys
from tidegate_server.store.data_folder import DataFolder

from tests.cli.calls import Tidegate
from tests.cli.conftest import RunningServer


def test_the_latest_change_is_the_last_line(checkout: Tidegate) -> None:
    checkout.ok("kill", "checkout", "--reason", "customers cannot pay")
    lines = checkout.ok("audit").splitlines()
    assert lines[0].split() == [
        *("when", "who", "action", "target", "environment", "reason", "address", "changes"),
    ]
    assert "flag.kill" in lines[-1]
    assert "customers cannot pay" in lines[-1]
    assert "flag.create" in checkout.ok("audit")


def test_a_note_says_that_the_log_is_cut(checkout: Tidegate) -> None:
    result = checkout.run("audit", "--limit", "1")
    assert "Showing the latest 1; use --limit to show more." in result.err
    assert len(result.out.splitlines()) == 2
    assert [each["action"] for each in checkout.json("audit", "--limit", "1")] == ["policy.create"]


def test_the_server_has_its_own_log(tidegate: Tidegate) -> None:
    entries = tidegate.json("audit", "--server", "--limit", "500")
    project = tidegate.variables["TIDEGATE_PROJECT"]
    assert (entries[-1]["action"], entries[-1]["target"]) == ("project.create", project)


def test_markup_in_a_reason_is_printed_as_text(checkout: Tidegate) -> None:
    checkout.ok("kill", "checkout", "--reason", "[bold]not bold[/bold] :smile:")
    assert "[bold]not bold[/bold] :smile:" in checkout.ok("audit")


def test_the_log_says_what_changed(checkout: Tidegate) -> None:
    checkout.ok("flag", "set", "checkout", "--default", "on", "--reason", "launch")
    last = checkout.ok("audit").splitlines()[-1]
    assert 'default variant: "off" → "on"' in last
    assert "launch" in last


def test_filters_are_those_of_the_api(checkout: Tidegate) -> None:
    checkout.ok("kill", "checkout", "--wait", "0s")
    arguments = (*("--object", "flag", "--key", "checkout", "--actor", "tests"), "--from")
    found = checkout.json("audit", *arguments, "2020-01-01", "--environment", "production")
    assert [each["action"] for each in found][-1:] == ["flag.kill"]
    assert checkout.json("audit", "--to", "2020-01-01") == []
    assert "A time is written as" in checkout.refused("audit", "--from", "noon")


def test_saved_contexts_change_requests_and_schedules_are_kinds_too(checkout: Tidegate) -> None:
    checkout.ok("saved-context", "create", "pro", "--file", "-", stdin="targetingKey: ann")
    checkout.ok("flag", "set", "checkout", "--default", "on", "--propose", "launch")
    actions = [
        each["action"]
        for kind in ("context", "change_request", "scheduled_change")
        for each in checkout.json("audit", "--object", kind)
    ]
    assert actions == ["context.create", "change_request.propose"]


def test_a_person_is_found_and_shown_by_email(tidegate: Tidegate) -> None:
    project = tidegate.variables["TIDEGATE_PROJECT"]
    tidegate.ok("person", "invite", "audited@example.com", "--role", "viewer", "--project", project)
    log = tidegate.ok("audit", "--server", "--key", "audited@example.com")
    actions = [line.split("person.")[1].split()[:2] for line in log.splitlines()[1:]]
    assert actions == [["create", "audited@example.com"], ["invite", "audited@example.com"]]


def test_an_export_has_one_entry_per_line_the_earliest_first(checkout: Tidegate) -> None:
    lines = checkout.ok("audit", "export").splitlines()
    assert [json.loads(line)["action"] for line in lines] == [
        "environment.create",
        "flag.create",
        "policy.create",
    ]
    assert checkout.ok("audit", "export", "--object", "flag").count("\n") == 1


def test_an_intact_log_is_confirmed_and_its_latest_hash_can_be_kept(checkout: Tidegate) -> None:
    report = checkout.ok("audit", "verify").splitlines()
    assert report[0] == "The audit log is intact: 3 entries."
    known = report[1].removeprefix("Latest: ")
    checkout.ok("kill", "checkout", "--wait", "0s")
    checkout.ok("audit", "verify", "--known", known)
    assert checkout.json("audit", "verify")["chained"] == 4
    checkout.ok("audit", "verify", "--server")
    wrong = f"{known.partition(':')[0]}:{'0' * 64}"
    assert "made anew" in checkout.refused("audit", "verify", "--known", wrong, status=5)
    assert "--known" in checkout.refused("audit", "verify", "--known", "3", status=2)


def test_a_changed_entry_is_named(checkout: Tidegate, server: RunningServer) -> None:
    checkout.ok("kill", "checkout", "--wait", "0s", "--reason", "a mistake of mine")
    stream = keys.audit(checkout.variables["TIDEGATE_PROJECT"])
    with redis.Redis(unix_socket_path=str(DataFolder(server.data_dir).socket)) as raw:
        entries: Any = raw.xrange(stream)
        fields = entries[1][1]
        for each, _ in entries[1:]:
            raw.xdel(stream, each)
        raw.xadd(stream, {**fields, b"entry": fields[b"entry"].replace(b"checkout", b"basket")})
    error = checkout.refused("audit", "verify", status=5)
    assert "The audit log is broken at entry" in error
    result = checkout.run("audit", "verify", "--output", "json")
    assert (result.status, json.loads(result.out)["chained"]) == (5, 1)
