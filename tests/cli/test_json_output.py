"""`--output json` of the commands that read: the body of the API's response, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import click
import pytest
import tidegate as sdk
import urllib3
from tidegate_server.cli.program import cli

from tests.cli.calls import Tidegate, wait_until
from tests.cli.conftest import RunningServer
from tests.cli.test_kill import sdk_token
from tests.code_refs.trees import git, write
from tests.receiver import Answer, receiver

PROJECT = "projects/{project}"
PLACE = f"{PROJECT}/environments/production"
RELEASE = f"{PLACE}/releases/{{release}}"

DOCUMENTS = {
    "segment show staff": f"{PROJECT}/segments/staff",
    "segment show staff --version 1": f"{PROJECT}/segments/staff/history/1",
    "flag show checkout --definition": f"{PROJECT}/flags/checkout",
    "flag show checkout --version 1": f"{PLACE}/flags/checkout/history/1",
    "environment show production": f"{PROJECT}/environments/production",
    **{
        f"{group} diff {key} 1": f"{PROJECT}/{path}/{key}/history/1/diff"
        for group, path, key in (
            *(("segment", "segments", "staff"), ("policy", "policies", "careful")),
            *(("webhook", "webhooks", "chat"), ("hook", "hooks", "{hook}")),
            ("environment", "environments", "production"),
        )
    },
    "flag diff checkout 1": f"{PLACE}/flags/checkout/history/1/diff",
    "policy show careful": f"{PROJECT}/policies/careful",
    "release show checkout": RELEASE,
    "release show {release}": RELEASE,
    "release watch checkout": RELEASE,
    "release explain checkout": f"{RELEASE}/explanation",
    "webhook show chat": f"{PROJECT}/webhooks/chat",
    "hook show {hook}": f"{PROJECT}/hooks/{{hook}}",
    "whoami": "me",
    "person show ada@example.com": "people/{person}",
    "person diff ada@example.com 1": "people/{person}/history/1/diff",
    "group show crew": "groups/crew",
    "group diff crew 1": "groups/crew/history/1/diff",
    "identity-provider show okta": "identity-providers/okta",
    "identity-provider diff okta 1": "identity-providers/okta/history/1/diff",
    "role show stopper": "roles/stopper",
    "role diff stopper 1": "roles/stopper/history/1/diff",
    "code-refs show checkout": f"{PROJECT}/flags/checkout/code-references",
    "saved-context show vera": f"{PROJECT}/contexts/vera",
    "saved-context diff vera 1": f"{PROJECT}/contexts/vera/history/1/diff",
    "change-request show {change}": f"{PROJECT}/change-requests/{{change}}",
    "schedule show {schedule}": f"{PROJECT}/scheduled-changes/{{schedule}}",
    "flag evaluations checkout --step day": f"{PLACE}/flags/checkout/evaluations?step=day",
}

LISTS = {
    "project list": "projects",
    "token list": "tokens",
    "person list": "people",
    "group list": "groups",
    "role list": "roles",
    "identity-provider list": "identity-providers",
    "environment list": f"{PROJECT}/environments",
    "segment list": f"{PROJECT}/segments",
    "policy list": f"{PROJECT}/policies",
    "release list": f"{PLACE}/releases",
    "webhook list": f"{PROJECT}/webhooks",
    "webhook deliveries chat": f"{PROJECT}/webhooks/chat/deliveries",
    "hook list": f"{PROJECT}/hooks",
    "instances --all": f"{PLACE}/instances",
    "code-refs list": f"{PROJECT}/code-references",
    "code-refs flags": f"{PROJECT}/code-references/flags",
    "saved-context list": f"{PROJECT}/contexts",
    "change-request list": f"{PROJECT}/change-requests",
    "schedule list": f"{PROJECT}/scheduled-changes",
    "share list": f"{PLACE}/shares",
}

LATEST_LAST = {
    "release ledger checkout": f"{RELEASE}/ledger",
    "audit list": f"{PROJECT}/audit",
    **{
        f"{group} history {key}": f"{PROJECT}/{path}/{key}/history"
        for group, path, key in (
            *(("segment", "segments", "staff"), ("policy", "policies", "careful")),
            *(("webhook", "webhooks", "chat"), ("hook", "hooks", "{hook}")),
            ("environment", "environments", "production"),
        )
    },
    "flag history checkout": f"{PLACE}/flags/checkout/history",
    "saved-context history vera": f"{PROJECT}/contexts/vera/history",
    "flag history checkout --definition": f"{PROJECT}/flags/checkout/history",
    "audit": f"{PROJECT}/audit",
    "audit --server --limit 500": "audit",
    "person history ada@example.com": "people/{person}/history",
    "group history crew": "groups/crew/history",
    "role history stopper": "roles/stopper/history",
    "identity-provider history okta": "identity-providers/okta/history",
}
"""Lists of the API with the latest first, which the commands print with the latest last."""

JOINED = {"flag list", "flag show", "release replay"}
"""They print the responses to several requests as one."""

NOT_READING = {
    *("kill", "restore", "policy lint", "policy simulate", "policy backtest", "context list"),
    *("context show", "webhook test", "audit verify", "evaluate", "export", "plan", "apply"),
    *("import", "drift"),
    *("person invite", "session list", "segment lookup", "segment upload"),
    *("kills", "receipt", "flag stale", "flag unknown"),
    *("change-request apply", "change-request comment", "change-request reject"),
    *("schedule cancel", "share report", "share badge", "identity-provider test"),
    "code-refs scan",
    "code-refs remove",
    "code-refs push",
    "code-refs forget",
}
"""They change or compute something, read only files, or their own tests compare them."""

CHANGING = {
    *("create", "edit", "put", "rotate", "rotate-key", "enable", "disable", "set", "include"),
    *("exclude", "start", "begin", "advance", "approve", "retry", "pause", "resume", "rollback"),
    *("complete", "restore", "archive", "unarchive", "grant", "withdraw"),
    *("copy", "promote", "map", "unmap"),
}


@pytest.fixture(scope="module")
def full(
    tmp_path_factory: pytest.TempPathFactory, server: RunningServer
) -> tuple[Tidegate, dict[str, str]]:
    """A project with one of everything, at rest, and the names in it."""
    project = "json-output"
    admin = Tidegate(
        {
            "TIDEGATE_URL": server.url,
            "TIDEGATE_TOKEN": server.token,
            "TIDEGATE_CONFIG": str(tmp_path_factory.mktemp("config") / "contexts.json"),
            "TIDEGATE_PROJECT": project,
        }
    )
    admin.ok("project", "create", project)
    admin.ok("environment", "create", "production")
    admin.ok("flag", "create", "checkout", "--name", "Käse", "--tag", "shop")
    admin.ok("flag", "create", "search")
    admin.ok("share", "badge", "search")
    admin.ok("segment", "create", "staff")
    admin.ok("segment", "include", "staff", "ana")
    code = write(tmp_path_factory.mktemp("code"), {"a.js": "ask('checkout')"})
    git(code, "init", "-q", "-b", "main")
    git(code, "add", ".")
    git(code, "commit", "-qm", "Ask")
    admin.ok("code-refs", "push", str(code), "--repository", "acme/shop", "--branch", "main")
    file = tmp_path_factory.mktemp("policies") / "careful.yaml"
    file.write_text(POLICY)
    admin.ok("policy", "put", str(file))
    admin.ok("policy", "put", "standard")
    hook = admin.json("hook", "create", *HOOK)["id"]
    with receiver(Answer(204)) as ops:
        admin.ok("webhook", "create", "chat", ops.url)
        admin.ok("webhook", "test", "chat")
    client = sdk.Client(server.url, sdk_token(admin))
    wait_until("it reports", lambda: admin.json("instances") != [])
    start = ("release", "start", "checkout", "--treatment", "on", "--policy", "careful")
    release = admin.json(*start)["id"]
    wait_until("two decisions", lambda: len(admin.json("release", "ledger", release)) >= 2)
    client.close()
    wait_until("it is gone", lambda: admin.json("instances") == [])
    admin.ok("release", "complete", release, "--reason", "go")
    admin.ok("role", "create", "stopper", "--permission", "kill")
    okta = ("--issuer", "https://okta.example.com", "--client-id", "tidegate")
    admin.ok("identity-provider", "create", "okta", *okta)
    admin.ok("group", "create", "crew")
    admin.ok("person", "invite", "ada@example.com", "--group", "crew")
    names = {"project": project, "release": release, "hook": hook}
    names["person"] = admin.json("person", "show", "ada@example.com")["id"]
    vera = file.with_name("vera.yaml")
    vera.write_text("targetingKey: vera\ncountry: DE\n")
    admin.ok("saved-context", "create", "vera", "--file", str(vera))
    admin.ok("flag", "disable", "search", "--propose", "nobody uses it")
    tomorrow = date.today() + timedelta(days=2)
    [proposed] = admin.json("change-request", "list")
    admin.ok("flag", "disable", "search", "--at", f"{tomorrow}T09:00", "--reason", "later")
    [scheduled] = admin.json("schedule", "list")
    return admin, {**names, "change": proposed["id"], "schedule": scheduled["id"]}


HOOK = ("alerts", "--flag", "search", "--kind", "alertmanager", "--action", "hold")

POLICY = """\
key: careful
interval: 1s
stages:
  - {name: few, percentage: 5, min_duration: 1h}
  - {name: everyone, percentage: 100}
bake: 1h
"""


class Api:
    """Reads the API without the code of the commands."""

    def __init__(self, full: tuple[Tidegate, dict[str, str]]) -> None:
        self.tidegate, self.names = full

    def get(self, path: str, query: str = "") -> Any:
        variables = self.tidegate.variables
        url = f"{variables['TIDEGATE_URL']}/api/v1/{path.format(**self.names)}{query}"
        headers = {"Authorization": f"Bearer {variables['TIDEGATE_TOKEN']}"}
        response = urllib3.request("GET", url, headers=headers)
        assert response.status == 200, response.data
        return json.loads(response.data)

    def items(self, path: str) -> list[Any]:
        page = self.get(path, "?limit=500")
        assert page["next_cursor"] is None
        assert page["items"], "an empty list shows nothing"
        return list(page["items"])

    def printed(self, command: str) -> Any:
        """Return what a command prints as JSON."""
        return self.tidegate.json(*command.format(**self.names).split())


@pytest.fixture
def api(full: tuple[Tidegate, dict[str, str]]) -> Api:
    return Api(full)


@pytest.mark.parametrize("command", DOCUMENTS)
def test_a_document_is_printed_as_the_api_returns_it(api: Api, command: str) -> None:
    assert api.printed(command) == api.get(DOCUMENTS[command])


@pytest.mark.parametrize("command", LISTS)
def test_a_list_is_printed_as_the_items_of_the_api(api: Api, command: str) -> None:
    assert api.printed(command) == api.items(LISTS[command])


@pytest.mark.parametrize("command", LATEST_LAST)
def test_a_log_is_printed_as_the_items_of_the_api_the_latest_last(api: Api, command: str) -> None:
    assert api.printed(command) == api.items(LATEST_LAST[command])[::-1]


def test_live_instances_are_the_items_that_are_live(api: Api) -> None:
    client = sdk.Client(api.tidegate.variables["TIDEGATE_URL"], sdk_token(api.tidegate))
    try:
        wait_until("it reports", lambda: api.printed("instances") != [])
        # It may have reported between both requests.
        wait_until(
            "the same instances",
            lambda: (
                api.printed("instances")
                == [each for each in api.items(f"{PLACE}/instances") if each["live"]]
            ),
        )
    finally:
        client.close()


def test_a_flag_is_printed_with_its_targeting(api: Api) -> None:
    targetings = {each["flag"]: each for each in api.items(f"{PLACE}/flags")}
    flags = api.items(f"{PROJECT}/flags")
    assert api.printed("flag list") == [
        {**each, "targeting": targetings[each["key"]]} for each in flags
    ]
    definition, targeting = (api.get(f"{at}/flags/checkout") for at in (PROJECT, PLACE))
    assert api.printed("flag show checkout") == {**definition, "targeting": targeting}


def test_a_replay_is_printed_as_one_page_with_its_release(api: Api) -> None:
    page = api.get(f"{RELEASE}/replay", "?limit=1000")
    assert page.pop("next_cursor") is None
    assert api.printed("release replay checkout") == {"release": api.names["release"], **page}


def test_every_command_with_json_output_is_known_here() -> None:
    compared = {*DOCUMENTS, *LISTS, *LATEST_LAST}
    known = {" ".join(each.split()[:2]) for each in compared} | {"instances"}
    reading = {
        " ".join(each)
        for each in _commands_with_output(cli)
        if each[-1] not in CHANGING and " ".join(each) not in NOT_READING
    }
    assert reading <= known | JOINED
    assert reading >= JOINED


def _commands_with_output(group: click.Group, *names: str) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _commands_with_output(command, *names, name)
        elif command and any("--output" in each.opts for each in command.params):
            yield (*names, name)
