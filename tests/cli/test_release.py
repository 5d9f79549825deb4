"""`tidegate release`: start, follow and act on releases."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
from contextlib import closing
from types import SimpleNamespace
from typing import Any, cast

import pytest
import tidegate as sdk
import urllib3
from tidegate_server.cli import release_watch
from tidegate_server.cli.api_client import ApiClient, Document
from tidegate_server.cli.target import Target
from tidegate_server.documents import shipped

from examples.shop.processes import free_port
from tests.cli.calls import PROGRAM, Tidegate, wait_until
from tests.cli.conftest import TOKEN, RunningServer
from tests.cli.test_kill import sdk_token
from tests.cli.test_output import output_of


def started(tidegate: Tidegate, *more: str) -> str:
    """Start a release of `checkout`; returns its id."""
    arguments = ("release", "start", "checkout", "--treatment", "on", "--policy", "careful", *more)
    return str(tidegate.json(*arguments)["id"])


def test_a_release_is_started_and_shown(checkout: Tidegate) -> None:
    output = checkout.ok(
        *("release", "start", "checkout", "--treatment", "on", "--policy", "careful"),
        *("--control", "off", "--reason", "SHOP-1234"),
    )
    assert "of flag checkout started: running, 5 % of everyone (stage 1 of 3)" in output
    id = output.split()[1]
    shown = checkout.ok("release", "show", id)
    for text in (id, "checkout: off to on", "1 of 3, few: 5 % of everyone", "SHOP-1234"):
        assert text in shown
    assert checkout.json("release", "show", id)["policy"]["key"] == "careful"


def test_the_numbers_of_a_release_are_shown_over_time(checkout: Tidegate) -> None:
    id = started(checkout)
    series = ("release", "show", id, "--series")
    wait_until("the first evaluation", lambda: checkout.json(*series)["points"] != [])
    shown = checkout.ok(*series, "--points", "2")
    for text in ("users who failed", "error rate against control:", "evidence of harm", "at most"):
        assert text in shown
    assert 0 < shown.count("1 (limit") <= 2
    place = checkout.json("release", "show", id)
    assert place["id"] == id
    assert "--points" in checkout.refused(*series, "--points", "1", status=2)


def test_a_release_behind_a_disabled_or_killed_flag_is_open_to_nobody(checkout: Tidegate) -> None:
    started(checkout)
    assert "on to 5 % of everyone, else off (running)" in checkout.ok("flag", "list")
    checkout.ok("flag", "disable", "checkout")
    row = checkout.ok("release", "list").splitlines()[1]
    assert "disabled (running)" in row
    assert "nobody" in row
    assert "disabled by " in row
    assert "off (disabled)" in checkout.ok("flag", "list")
    shown = checkout.ok("flag", "show", "checkout")
    assert re.search("^decided by +disabled by ", shown, re.MULTILINE)
    assert re.search("^behind it +running since ", shown, re.MULTILINE)
    assert "disabled (running)" in checkout.ok("release", "explain", "checkout")
    checkout.ok("kill", "checkout", "--reason", "it burns", "--wait", "0s")
    output = checkout.ok("release", "show", "checkout")
    assert "killed by " in output
    assert "5 % of everyone" not in output.split("open to")[1].splitlines()[0]
    checkout.ok("flag", "enable", "checkout")
    checkout.ok("restore", "checkout", "--reason", "fixed")
    assert "paused, 5 % of everyone" in checkout.ok("release", "ledger", "checkout")


def test_a_flag_selects_its_latest_release(checkout: Tidegate) -> None:
    first = started(checkout)
    checkout.ok("release", "rollback", "checkout", "--reason", "not yet")
    second = started(checkout)
    assert checkout.json("release", "show", "checkout")["id"] == second
    assert checkout.json("release", "show", first)["state"] == "rolled_back"
    assert "There is no flag 'search'" in checkout.refused("release", "show", "search")
    assert "no release 'rel_x'" in checkout.refused("release", "show", "rel_x")


def test_a_flags_key_may_look_like_a_release_id(checkout: Tidegate) -> None:
    checkout.ok("flag", "create", "rel_notes")
    assert "no release 'rel_notes'" in checkout.refused("release", "show", "rel_notes")
    arguments = ("release", "start", "rel_notes", "--treatment", "on", "--policy", "careful")
    first = checkout.json(*arguments)["id"]
    assert checkout.json("release", "show", "rel_notes")["id"] == first
    assert checkout.json("release", "rollback", "rel_notes")["state"] == "rolled_back"


def test_releases_are_listed_the_latest_first(checkout: Tidegate) -> None:
    assert "No releases" in checkout.run("release", "list").err
    first = started(checkout)
    checkout.ok("release", "complete", first)
    checkout.ok("flag", "create", "search")
    second = checkout.json(
        "release", "start", "search", "--treatment", "on", "--policy", "careful"
    )["id"]
    lines = checkout.ok("release", "list").splitlines()
    assert [line.split()[0] for line in lines] == ["release", second, first]
    assert [each["id"] for each in checkout.json("release", "list", "--flag", "search")] == [second]
    listed = checkout.json("release", "list", "--state", "completed")
    assert [each["id"] for each in listed] == [first]
    cut = checkout.run("release", "list", "--limit", "1")
    assert "use --limit to show more" in cut.err
    assert len(cut.out.splitlines()) == 2


def test_actions_change_the_state_of_a_release(checkout: Tidegate) -> None:
    started(checkout)
    output = checkout.ok("release", "pause", "checkout", "--stop", "--reason", "lunch")
    assert "paused (full stop), 5 % of everyone" in output
    assert "running, 5 %" in checkout.ok("release", "resume", "checkout")
    assert "running, 50 % of everyone (stage 2 of 3)" in checkout.ok(
        "release", "advance", "checkout", "--reason", "looks good"
    )
    assert ", by a person" in checkout.ok("release", "show", "checkout")
    assert "completed" in checkout.ok("release", "complete", "checkout")
    shown = checkout.json("flag", "show", "checkout")["targeting"]
    assert (shown["default"], shown["release"]) == ({"variant": "on"}, None)


def test_a_refused_action_says_what_is_possible(checkout: Tidegate) -> None:
    started(checkout)
    assert "is running" in checkout.refused("release", "resume", "checkout")
    output = checkout.refused(
        "release", "start", "checkout", "--treatment", "on", "--policy", "careful"
    )
    assert "has an active release" in output
    checkout.ok("release", "rollback", "checkout")
    assert "It has ended; start a new release" in checkout.refused("release", "pause", "checkout")


def test_a_refused_start_names_the_fields(checkout: Tidegate) -> None:
    arguments = ("release", "start", "checkout", "--policy", "careless", "--treatment", "of")
    output = checkout.refused(*arguments)
    assert "/policy: There is no policy 'careless'" in output
    arguments = ("release", "start", "checkout", "--policy", "careful", "--treatment", "of")
    assert "/treatment" in checkout.refused(*arguments)


@pytest.mark.parametrize("policy", shipped.NAMES)
def test_a_missing_shipped_policy_is_named_without_a_terminal(
    tidegate: Tidegate, policy: str
) -> None:
    tidegate.ok("flag", "create", "checkout")
    start = ("release", "start", "checkout", "--treatment", "on", "--policy", policy)
    output = tidegate.refused(*start)
    assert f"/policy: There is no policy {policy!r}" in output
    hint = f"create it with `tidegate policy put {policy}`"
    assert output.splitlines()[-1] == f"Tidegate comes with a policy {policy!r}: {hint}"
    assert tidegate.json("policy", "list") == []
    tidegate.ok("policy", "put", policy)
    assert tidegate.json(*start)["policy"]["key"] == policy


def test_other_refusals_do_not_name_a_shipped_policy(checkout: Tidegate) -> None:
    start = ("release", "start", "checkout", "--treatment")
    assert "comes with" not in checkout.refused(*start, "on", "--policy", "careless")
    assert "comes with" not in checkout.refused(*start, "of", "--policy", "careful")


def start_on_a_terminal(
    tidegate: Tidegate, policy: str, typed: str
) -> subprocess.CompletedProcess[str]:
    """Start a release of `checkout` with JSON output, and answer the question."""
    start = ("release", "start", "checkout", "--treatment", "on", "--policy", policy)
    ours, theirs = pty.openpty()
    try:
        os.write(ours, typed.encode())
        return subprocess.run(
            [PROGRAM, *start, "--output", "json"],
            env={**os.environ, **tidegate.variables},
            stdin=theirs,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("policy", shipped.NAMES)
def test_on_a_terminal_a_missing_shipped_policy_is_offered(tidegate: Tidegate, policy: str) -> None:
    tidegate.ok("flag", "create", "checkout")
    project = tidegate.variables["TIDEGATE_PROJECT"]
    result = start_on_a_terminal(tidegate, policy, "y\n")
    assert (
        f"Project {project} has no policy {policy!r}. Create the one that comes with Tidegate? "
        "[y/N]"
    ) in result.stderr
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["policy"]["key"] == policy
    in_project = tidegate.json("policy", "show", policy)
    assert {**in_project, **shipped.canonical(policy), "revision": 1} == in_project


@pytest.mark.parametrize("typed", ["n\n", "\n"])
def test_without_a_yes_no_shipped_policy_is_created(tidegate: Tidegate, typed: str) -> None:
    tidegate.ok("flag", "create", "checkout")
    result = start_on_a_terminal(tidegate, "standard", typed)
    assert (result.returncode, result.stdout) == (1, "")
    assert tidegate.json("policy", "list") == []
    assert tidegate.json("release", "list") == []


def test_the_ledger_shows_every_decision(checkout: Tidegate) -> None:
    id = started(checkout)
    assert "running, 5 %" in checkout.ok("release", "ledger", id)
    wait_until("two decisions", lambda: len(checkout.json("release", "ledger", id)) >= 2)
    result = checkout.run("release", "ledger", id, "--limit", "1")
    assert "Showing the latest 1; use --limit to show more." in result.err
    assert "stage 1" in result.out
    assert "failed: control 0 of 0, treatment 0 of 0" in result.out
    assert "too few samples" in result.out
    entries = checkout.json("release", "ledger", id)
    assert entries == sorted(entries, key=lambda each: each["entry"]["at_ms"])
    shown = checkout.ok("release", "show", id)
    assert "last decision" in shown
    assert "failing users" in shown


def test_a_release_and_its_ledger_show_what_clients_reported(
    checkout: Tidegate, server: RunningServer
) -> None:
    checkout.ok("flag", "edit", "checkout", "--client-side")
    start = ("release", "start", "checkout", "--treatment", "on", "--policy", "careful")
    warned = checkout.run(*start)
    assert "their reports do not advance the release" in warned.err
    id = warned.out.split()[1]
    project = checkout.variables["TIDEGATE_PROJECT"]
    token = checkout.ok(
        *("token", "create", "page", "--role", "client", "--project", project),
        *("--environment", "production"),
    )
    context = {"context": {"targetingKey": "ann"}}
    headers = {"Authorization": f"Bearer {token.strip()}"}

    def post(path: str, body: Any) -> Any:
        return urllib3.request("POST", server.url + path, json=body, headers=headers).json()

    variant = post("/ofrep/v1/evaluate/flags/checkout", context)["variant"]
    flags = {"flags": {"checkout": variant}}
    assert post("/ofrep/v1/track", {**context, **flags, "outcome": "ok"})["counted"]
    wait_until(
        "it is counted", lambda: "; clients: control " in checkout.ok("release", "ledger", id)
    )
    shown = checkout.ok("release", "show", id)
    assert "control, from clients" in shown
    assert "error rate against control, from clients" in shown
    assert "do not advance the release" in shown
    explained = checkout.ok("release", "explain", id)
    assert "Clients reported, which decides nothing" in explained


def test_a_release_says_when_no_sdk_names_the_users_of_its_sample(
    checkout: Tidegate, server: RunningServer
) -> None:
    id = started(checkout)
    token = sdk_token(checkout)
    report = {"instance": "a" * 32, "version": 1, "interval": 1, "pid": 1, "failing": []}
    report |= {"continues": False, "sdk": "old/1", "host": "web-1"}
    arm = {"exposures": 5, "outcomes": 5, "errors": 0, "microseconds": 0}
    group = {"release": id, "step": 1, "stratum": 1, "control": arm, "treatment": arm}

    def send(**fields: Any) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        body = {**report, "counts": [group], **fields}
        url = f"{server.url}/sdk/v1/reports"
        return urllib3.request("POST", url, json=body, headers=headers).status

    def shown() -> str:
        return " ".join(checkout.ok("release", "show", id).split())

    assert "not checked" not in shown()
    assert send(schema=1, sequence=1) == 200
    wait_until("it is counted", lambda: "split not checked: no SDK of this stage names" in shown())
    (instance,) = checkout.json("instances")
    assert (instance["sdk"], instance["samples"]) == ("old/1", False)
    sample = {"release": id, "step": 1, "stratum": 1, "bits": 0, "control": [1], "treatment": [2]}
    assert send(schema=2, sequence=2, samples=[sample]) == 200
    wait_until("it is counted", lambda: "not checked" not in shown())


def test_the_ledger_counts_trips_of_local_breakers(
    checkout: Tidegate, server: RunningServer
) -> None:
    id = started(checkout)
    with closing(sdk.Client(server.url, sdk_token(checkout))) as client:
        assert client.wait_until_ready()
        client._reporter.start_trip(id)
        trips = "; closed by local breakers: 1\n"
        wait_until("the trip is reported", lambda: trips in checkout.ok("release", "ledger", id))
    assert checkout.ok("release", "ledger", id).count(trips) == 1


def test_watching_ends_with_the_release(checkout: Tidegate) -> None:
    id = started(checkout)
    watching = checkout.process("release", "watch", "checkout")
    as_json = checkout.process("release", "watch", id, "--output", "json")
    for each in (watching, as_json):
        assert each.stdout is not None
        assert "5" in each.stdout.readline()
    checkout.ok("release", "complete", id, "--reason", "go")
    out, err = watching.communicate(timeout=60)
    assert (watching.returncode, err) == (0, "")
    assert "checkout: completed" in out
    lines, _ = as_json.communicate(timeout=60)
    assert [json.loads(line)["state"] for line in lines.splitlines()] == ["completed"]
    assert as_json.returncode == 0


def test_watching_on_a_terminal_shows_a_live_view(checkout: Tidegate) -> None:
    started(checkout)
    checkout.ok("release", "complete", "checkout", "--reason", "go")
    drawn = output_of(checkout, "release", "watch", "checkout", terminal=True)
    assert "checkout: off to on" in drawn
    assert "completed" in drawn


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_watch_does_not_stop_the_release(checkout: Tidegate) -> None:
    started(checkout)
    watching = checkout.process("release", "watch", "checkout")
    assert watching.stdout is not None
    assert "running" in watching.stdout.readline()
    watching.send_signal(signal.SIGINT)
    _, err = watching.communicate(timeout=60)
    assert (watching.returncode, "The release continues" in err) == (130, True)
    assert checkout.json("release", "show", "checkout")["state"] == "running"


def test_watching_waits_for_an_unreachable_server(
    checkout: Tidegate, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started(checkout)
    checkout.ok("release", "complete", "checkout")
    completed = checkout.json("release", "show", "checkout")
    url = checkout.variables["TIDEGATE_URL"]
    project = checkout.variables["TIDEGATE_PROJECT"]
    away = ApiClient(Target(f"http://127.0.0.1:{free_port()}", TOKEN, project))
    back = ApiClient(Target(url, TOKEN, project))
    requests = []

    def get(path: str) -> Document:
        requests.append(path)
        return (away if len(requests) < 3 else back).get(path)

    monkeypatch.setattr(release_watch, "POLL_SECONDS", 0.01)
    flaky = SimpleNamespace(environment_path=back.environment_path, get=get)
    with closing(back):
        status = release_watch.watch(
            cast(ApiClient, flaky), {**completed, "state": "running"}, as_json=False
        )
    result = capsys.readouterr()
    assert status == 0
    assert result.err.count("Nothing answers") == 1
    assert [line.split()[2] for line in result.out.splitlines()] == ["running;", "completed;"]


def test_watching_a_rolled_back_release_exits_with_5(checkout: Tidegate) -> None:
    started(checkout)
    checkout.ok("release", "rollback", "checkout", "--reason", "customers cannot pay")
    result = checkout.run("release", "watch", "checkout")
    assert result.status == 5
    assert "rolled back" in result.out
    assert "customers cannot pay" in result.out
