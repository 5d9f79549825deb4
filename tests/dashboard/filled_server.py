"""One server with something on every page, for the tests that look at all of them.

It has a project for every manner of speaking: the same things, named in plain words or in hostile
ones. Nothing here is faked: the policy job makes the decisions, an SDK reports, a webhook answers.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import tidegate
from flask import Flask
from tidegate_server.admin.bootstrap import bootstrap
from tidegate_server.application import create_app
from tidegate_server.domain.change import Address
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.release import LIVE_STATES, Release, State
from tidegate_server.policy_job import PolicyJob
from tidegate_server.store import Store
from tidegate_server.store.embedded import EmbeddedValkey
from tidegate_server.web.settings import ApiSettings
from werkzeug.serving import make_server

from tests.admin.alert_payloads import alertmanager
from tests.http_application import ADMIN_TOKEN, SECRET_KEY
from tests.http_calls import Caller
from tests.people import PASSWORD, invited
from tests.policy_job.deployment import Clock, Sdk
from tests.receiver import LOOPBACK, Answer, receiver
from tests.waiting import until

HOSTILE = "\"'><script>hacked=1</script><img src=x onerror=hacked=1>[x](javascript:hacked=1){{7*7}}"
"""A text that would set the global ``hacked`` where it is not escaped; a tag may be this long."""

HEALTHY = ((950, 2), (50, 0))
BROKEN = ((950, 2), (50, 25))
"""What control and treatment report in a window: operations, failing users."""

PEOPLE = ("admin", "release_manager", "developer", "responder", "viewer")
"""The roles that people have: each project has one of each, ``<role>@<project>.example``,
and ``owner@<project>.example`` is an admin of the whole server."""

Say = Callable[[str], str]


def plainly(text: str) -> str:
    """Return a text as it is."""
    return text


def hostilely(text: str) -> str:
    """Return what an attacker types instead of a text."""
    return HOSTILE


def name_of(text: str) -> str:
    """Return a text as a person may be called."""
    return text.replace("(", "").replace(")", "")


@dataclass(frozen=True, slots=True)
class FilledServer:
    """A server that serves real connections.

    Attributes:
        ids: by the key of a project, what its addresses name: ``{live}`` is a release.
    """

    app: Flask
    store: Store
    origin: str
    admin: Caller
    ids: dict[str, dict[str, str]]

    @property
    def port(self) -> int:
        """The port of its origin."""
        return int(self.origin.rpartition(":")[2])

    def address(self, pattern: str, project: str = "shop") -> str:
        """Return the path of a page, from its pattern in ``every_page.py``."""
        return pattern.format(project=project, environment="production", **self.ids[project])


@contextmanager
def filled_server(**speech: Say) -> Iterator[FilledServer]:
    """Run a server with a project for each manner of speaking, by the project's key."""
    with (
        tempfile.TemporaryDirectory(prefix="tg-pages-") as folder,
        receiver(Answer(500, "no such room")) as chat,
    ):
        valkey = EmbeddedValkey(Path(folder))
        valkey.start()
        store = Store.connect(valkey.url)
        bootstrap(store, SECRET_KEY, ADMIN_TOKEN)
        app = create_app(
            store, ApiSettings(SECRET_KEY, token_poll_seconds=0, webhook_networks=LOOPBACK)
        )
        server = make_server("127.0.0.1", 0, app, threaded=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        origin = f"http://127.0.0.1:{server.server_port}"
        clients: list[tidegate.Client] = []
        try:
            admin = Caller(app.test_client(), ADMIN_TOKEN)
            filled = FilledServer(app, store, origin, admin, {})
            fillings = [_Filling(filled, *each, chat.url) for each in speech.items()]
            for each in fillings:
                filled.ids[each.project] = each.fill()
                clients.append(each.connect())
            # Afterwards: once an environment is protected, nobody gives permissions alone.
            for each in fillings:
                filled.ids[each.project] |= each.protect(filled.ids[each.project])
            yield filled
        finally:
            for client in clients:
                client.close()
            app.extensions["tidegate"].close()
            server.shutdown()
            server.server_close()
            thread.join()
            store.close()
            valkey.stop()


@dataclass(slots=True)
class _Filling:
    """Fills one project."""

    server: FilledServer
    project: str
    say: Say
    chat: str

    @property
    def _base(self) -> str:
        return f"/api/v1/projects/{self.project}"

    @property
    def _production(self) -> str:
        return f"{self._base}/environments/production"

    def fill(self) -> dict[str, str]:
        """Make everything, and return the ids that only the server knows."""
        self._make_places()
        ids = self._make_people()
        self._make_flags()
        ids |= self._make_governance()
        ids |= self._make_releases()
        ids["shared"], ids["shared_secret"] = self._share(ids["over"])
        self._kill()
        self._send_alert(ids)
        return ids

    def protect(self, ids: dict[str, str]) -> dict[str, str]:
        """Protect an environment, propose and schedule changes, and return their ids."""
        return self._propose_and_schedule() | self._noted(ids)

    def _noted(self, ids: dict[str, str]) -> dict[str, str]:
        """Return ids of entries of the audit logs."""
        self._put(
            f"/api/v1/groups/{ids['group']}",
            {"name": self.say("Payments"), "description": self.say("They answer for payments")},
        )

        def latest(path: str, **query: str) -> str:
            entries = self._get(f"{path}/audit?{urlencode(query)}")["items"]
            return str(entries[0]["id"])

        return {
            "delivery": self._get(f"{self._base}/webhooks/chat/deliveries")["items"][0]["id"],
            "entry": latest(self._base, action="targeting.edit", key="banner"),
            "server_entry": latest("/api/v1", object="token"),
            "person_entry": latest("/api/v1", object="group", action="group.edit"),
        }

    def connect(self) -> tidegate.Client:
        """Connect an application, which asks for flags and reports."""
        token = self._post(
            "/api/v1/tokens",
            {
                **{"name": self.say("shop"), "role": "sdk"},
                **{"project": self.project, "environment": "production"},
            },
        )["secret"]
        client = tidegate.Client(self.server.origin, token, application=self.say("shop-web"))
        assert client.wait_until_ready(60)
        with client.operation(tidegate.Context("ann", country=self.say("DE"))):
            client.boolean("checkout", False)
            client.string("banner", "")
        client.flush()
        until(lambda: bool(self._get(f"{self._production}/instances")["items"]), "the first report")
        return client

    def _post(self, path: str, body: Any) -> Any:
        return self.server.admin.post_ok(path, body)

    def _get(self, path: str) -> Any:
        answer = self.server.admin.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json

    def _put(self, path: str, body: Any, propose: str = "") -> Any:
        etag = self.server.admin.get(path).headers["ETag"]
        headers = {"Tidegate-Propose": quote(propose)} if propose else {}
        answer = self.server.admin.put(path, body, match=etag, headers=headers)
        assert answer.status_code in (200, 202), answer.text
        return answer.json

    def _make_places(self) -> None:
        say = self.say
        self._post(
            "/api/v1/projects",
            {"key": self.project, "name": say("Shop"), "description": say("What we sell")},
        )
        for role in PEOPLE:
            self._make_person(role, {"role": role, "project": self.project})
        self._make_person("owner", {"role": "admin"})
        for environment in ("production", "staging"):
            self._post(
                f"{self._base}/environments",
                {
                    **{"key": environment, "name": say(environment.title())},
                    "description": say("Where customers are"),
                    "freezes": [
                        {"from": "2030-12-20", "to": "2031-01-02", "reason": say("holidays")}
                    ],
                },
            )

    def _make_person(self, called: str, grant: dict[str, str]) -> None:
        """Make a person with a role, and the usual password."""
        name = name_of(self.say(called.replace("_", " ").title()))
        email = f"{called}@{self.project}.example"
        link = invited(self.server.admin, email, grant)
        accepted = self.server.app.test_client().post(
            "/api/v1/invitations/accept",
            json={"invitation": link, "name": name, "password": PASSWORD},
        )
        assert accepted.status_code == 200, accepted.text

    def _make_people(self) -> dict[str, str]:
        say, here = self.say, {"project": self.project}
        group, role = f"{self.project}-payments", f"{self.project}-reader"
        self._post(
            "/api/v1/roles",
            {"key": role, "name": say("Reads"), "permissions": ["read"]},
        )
        self._post(
            "/api/v1/groups",
            {"key": group, "name": say("Payments"), "grants": [{"role": "developer", **here}]},
        )
        person = self._post(
            "/api/v1/people",
            {
                **{"email": f"grace@{self.project}.example", "name": name_of(say("Grace"))},
                **{"groups": [group], "grants": [{"role": "responder", **here}]},
            },
        )
        token = self._post(
            "/api/v1/tokens",
            {"name": say("pipeline"), "role": "developer", "owner": say("Payments"), **here},
        )
        provider = f"{self.project}-okta"
        self._post(
            "/api/v1/identity-providers",
            {
                **{"key": provider, "name": say("Okta")[:60], "client_id": say("tidegate")},
                **{"issuer": f"https://{self.project}.okta.example", "enabled": False},
                "group_mappings": [
                    {"provider_group": say("devs"), "grants": [{"role": "developer", **here}]}
                ],
            },
        )
        ids = {"person": person["id"], "token": token["id"], "group": group, "role": role}
        return {**ids, "provider": provider}

    def _make_governance(self) -> dict[str, str]:
        say = self.say
        self._post(
            f"{self._base}/webhooks",
            {
                **{"key": "chat", "url": self.chat, "name": say("Chat")},
                "description": say("The room of the team"),
            },
        )
        hook = self._post(
            f"{self._base}/hooks",
            {
                **{"name": say("error rate")[:100], "kind": "alertmanager", "action": "hold"},
                **{"environment": "production", "flags": ["search"]},
                "description": say("Pages the team"),
            },
        )
        self._post(
            f"{self._base}/policies",
            {
                **{"key": "careful", "name": say("Careful"), "description": say("For payments")},
                **{"interval": "10s", "bake": "10m"},
                "stages": [
                    {"name": "first", "percentage": 5, "min_duration": "10m", "min_samples": 10},
                    {"percentage": 100, "min_duration": "0s", "min_samples": 10},
                ],
                "notify": [{"webhook": "chat"}],
            },
        )
        # With few evaluations, so that its simulation does not take all the time that it may.
        self._post(
            f"{self._base}/policies",
            {
                **{"key": "seldom", "name": say("Seldom"), "description": say("For the office")},
                **{"interval": "15m", "bake": "30m", "no_data": {"after": "1h"}},
                "stages": [
                    {"name": "first", "percentage": 5, "min_duration": "30m", "min_samples": 10},
                    {"percentage": 100, "min_duration": "0s", "min_samples": 10},
                ],
            },
        )
        return {"hook": hook["id"], "hook_secret": hook["secret"]}

    def _make_flags(self) -> None:
        say = self.say
        self._post(
            f"{self._base}/segments",
            {
                **{"key": "staff", "name": say("Staff"), "description": say("Everyone of us")},
                **{"included": [say("ann")], "excluded": ["bob"]},
                "when": {"attribute": say("team"), "operator": "equals", "value": say("core")},
            },
        )
        texts = {"name": say("A flag"), "description": say("What it does"), "owner": say("Ada")}
        for key in ("checkout", "search", "recommendations"):
            self._post(
                f"{self._base}/flags",
                {
                    **{"key": key, "type": "boolean", "tags": [say("payments")], **texts},
                    **{"metadata": {"ticket": say("PAY-1")}, "temporary": key == "search"},
                },
            )
        self._post(
            f"{self._base}/flags",
            {
                **{"key": "banner", "type": "string", "tags": [say("marketing")], **texts},
                "variants": [
                    {"key": "plain", "value": say("Welcome")},
                    {"key": "sale", "value": say("20 % off")},
                    {"key": "link", "value": "javascript:hacked=1"},
                ],
            },
        )
        rule = {
            "id": "germany",
            "when": {
                "all": [
                    {"attribute": say("country"), "operator": "equals", "value": say("DE")},
                    {"segment": "staff"},
                ]
            },
            "serve": {"split": [
                {"variant": "plain", "weight": 30}, {"variant": "sale", "weight": 70}
            ]},
        }  # fmt: skip
        self._put(
            f"{self._production}/flags/banner",
            {
                **{"enabled": True, "off_variant": "plain", "default": {"variant": "plain"}},
                **{"rules": [rule], "prerequisites": [{"flag": "search", "variants": ["on"]}]},
            },
        )
        for key in ("checkout", "search", "recommendations"):
            self._put(
                f"{self._production}/flags/{key}",
                {"enabled": True, "off_variant": "off", "default": {"variant": "off"}},
            )
        self._post(
            f"{self._base}/contexts",
            {
                **{"key": "ann", "name": say("Ann"), "description": say("Our tester")},
                "context": {"targetingKey": say("ann"), say("country"): say("DE")},
            },
        )
        self._post(
            f"{self._base}/code-references",
            {
                **{"repository": "acme/shop", "branch": "main", "commit": "a" * 40},
                **{"committed_at": "2026-01-01T00:00:00Z", "is_default": True},
                "flags": [
                    {
                        **{"flag": "checkout", "total": 1, "tests": 0},
                        "uses": [
                            {
                                **{"path": say("shop/app.py"), "line": 7, "kind": "call"},
                                "source": say("if client.boolean('checkout', False):"),
                            }
                        ],
                    }
                ],
            },
        )

    def _make_releases(self) -> dict[str, str]:
        """Start two releases and let the policy job evaluate them; one of them is broken."""
        started = {
            name: self._post(
                f"{self._production}/releases",
                {
                    **{"flag": flag, "treatment": "on", "policy": "careful"},
                    "reason": self.say("one-step payment"),
                },
            )["id"]
            for name, flag in (("live", "checkout"), ("over", "recommendations"))
        }
        store = self.server.store
        clock = Clock(store.now_ms())
        job = PolicyJob(
            store, f"job-{self.project}", clock, secret_key=SECRET_KEY, networks=LOOPBACK
        )
        sdk = Sdk(store, self.project, "b" * 32)
        for _ in range(12):
            for name, counts in (("live", HEALTHY), ("over", BROKEN)):
                release = self._release(started[name])
                if release.state in LIVE_STATES:
                    sdk.report(release, *counts)
            clock.now_ms += 10_000
            job.tick()
        assert self._release(started["over"]).state is State.ROLLED_BACK
        tried = self.server.admin.post(
            f"{self._base}/webhooks/chat/test", {"reason": self.say("does it arrive")}
        )
        assert tried.status_code == 204, tried.text
        until(
            lambda: (
                job.tick() >= 0
                and any(
                    each["last_attempt"]
                    for each in self._get(f"{self._base}/webhooks/chat/deliveries")["items"]
                )
            ),
            "the delivery",
        )
        return started

    def _share(self, release: str) -> tuple[str, str]:
        """Share the report of a release; return the id of its link, and the secret."""
        body = {"kind": "report", "release": release}
        link: str = self._post(f"{self._production}/shares", body)["link"]
        id, secret = link.split("/")[-2:]
        return id, secret

    def _release(self, id: str) -> Release:
        stored = self.server.store.get(self.project, Address(Kind.RELEASE, id, "production"))
        assert stored is not None
        release: Release = stored.document
        return release

    def _kill(self) -> None:
        self._post(
            f"{self._production}/flags/search/kill",
            {"reason": self.say("customers cannot search")},
        )

    def _propose_and_schedule(self) -> dict[str, str]:
        staging = f"{self._base}/environments/staging"
        before = {"name": self.say("Staging"), "required_approvals": 1, "require_reason": True}
        path = f"{staging}/flags/checkout"
        serving = {"enabled": True, "off_variant": "off", "default": {"variant": "on"}}
        self._put(staging, before)
        proposed = self._put(path, serving, propose=self.say("try it in staging"))
        whole_server = self.server.admin.post(
            "/api/v1/tokens",
            {"name": self.say("laptop"), "role": "admin", "whole_server": True},
            headers={"Tidegate-Propose": quote(self.say("for the new laptop"))},
        )
        assert whole_server.json is not None, whole_server.text
        comments = f"{self._base}/change-requests/{proposed['id']}/comments"
        self._post(comments, {"text": self.say("Looks right")})
        scheduled = self._post(
            f"{self._base}/scheduled-changes",
            {
                **{"reason": self.say("the sale begins"), "timezone": "Europe/Berlin"},
                **{"every": {"time": "09:00", "days": ["mon", "fri"]}},
                "operations": [
                    {
                        "method": "PUT",
                        "path": f"{self._production}/flags/banner",
                        "body": {**serving, "off_variant": "plain", "default": {"variant": "sale"}},
                        "if_match": "*",
                    }
                ],
            },
        )
        return {
            **{"request": proposed["id"], "schedule": scheduled["id"]},
            "server_request": whole_server.json["id"],
        }

    def _send_alert(self, ids: dict[str, str]) -> None:
        """Send an alert to the hook."""
        answer = self.server.admin.client.post(
            f"/api/v1/hooks/{ids['hook']}",
            json=alertmanager(summary=self.say("too many errors")),
            headers={"Authorization": f"Bearer {ids['hook_secret']}"},
        )
        assert answer.status_code == 200, answer.text
