"""A server with a release in every state, each of them reached as a real one would reach it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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

from tests.http_application import ADMIN_TOKEN, SECRET_KEY
from tests.http_calls import PRODUCTION, PROJECT, Caller
from tests.policy_job.deployment import Clock, Sdk


@dataclass(frozen=True)
class Traffic:
    """Operations in a window, and which share of them fails; they are split as the stage opens."""

    operations: int = 1_000
    control: float = 0.006
    treatment: float = 0.006

    def counts(self, release: Release) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return what control and treatment report: operations, failing users."""
        opened = round(self.operations * release.open_percentage / 100)
        closed = self.operations - opened
        return (closed, round(closed * self.control)), (opened, round(opened * self.treatment))


HEALTHY = Traffic()
BROKEN = Traffic(treatment=0.24)
FEW = Traffic(operations=4)
SILENT = Traffic(operations=0)
RISING = Traffic(treatment=0.4)


def stage(percentage: float, **changes: Any) -> dict[str, Any]:
    return {"percentage": percentage, "min_duration": "0s", "min_samples": 10, **changes}


POLICIES: dict[str, dict[str, Any]] = {
    "slow": {"stages": [stage(25, min_duration="1h"), stage(100)]},
    "hungry": {"stages": [stage(25, min_samples=500), stage(100)]},
    "quick": {"stages": [stage(50), stage(100)], "bake": "3s"},
    "baking": {"stages": [stage(50), stage(100)], "bake": "1h"},
    "asking": {
        "stages": [stage(50, approval={"approvers": ["*"], "timeout": "1h"}), stage(100)],
        "bake": "1h",
    },
    "retrying": {
        "stages": [stage(25, min_duration="1h"), stage(100)],
        "rollback": {"cooldown": "30m", "max_retries": 2},
    },
    "watchful": {
        "stages": [stage(25, min_duration="1h"), stage(100)],
        "no_data": {"after": "5s", "action": "hold"},
    },
}


@dataclass
class States:
    """A server, and the ids of its releases by what they are in.

    Attributes:
        reported: what each release's SDK reports at the next evaluations.
    """

    app: Flask
    store: Store
    admin: Caller
    job: PolicyJob
    clock: Clock
    sdk: Sdk
    ids: dict[str, str] = field(default_factory=dict)
    reported: dict[str, Traffic] = field(default_factory=dict)

    def start(self, name: str, policy: str, traffic: Traffic = HEALTHY, **more: Any) -> str:
        """Start a release of a flag of its own; return its path."""
        self.admin.post_ok(f"{PROJECT}/flags", {"key": name, "type": "boolean"})
        body = {"flag": name, "treatment": "on", "policy": policy, "reason": "one-step payment"}
        self.ids[name] = self.admin.post_ok(f"{PRODUCTION}/releases", {**body, **more})["id"]
        self.reported[name] = traffic
        return self.path(name)

    def path(self, name: str) -> str:
        return f"{PRODUCTION}/releases/{self.ids[name]}"

    def page(self, name: str) -> str:
        return f"/p/default/e/production/releases/{self.ids[name]}"

    def release(self, name: str) -> Release:
        address = Address(Kind.RELEASE, self.ids[name], "production")
        stored = self.store.get("default", address)
        assert stored is not None
        document: Release = stored.document
        return document

    def evaluate(self, times: int) -> None:
        """Let every SDK report, and the policy job look, so many times."""
        for _ in range(times):
            for name, traffic in self.reported.items():
                release = self.release(name)
                if release.state in LIVE_STATES:
                    self.sdk.report(release, *traffic.counts(release))
            self.clock.now_ms += 1_000
            self.job.tick()


@contextmanager
def release_states() -> Iterator[States]:
    """Run a server with a release in every state."""
    with tempfile.TemporaryDirectory(prefix="tg-states-") as folder:
        valkey = EmbeddedValkey(Path(folder))
        valkey.start()
        store = Store.connect(valkey.url)
        bootstrap(store, SECRET_KEY, ADMIN_TOKEN)
        app = create_app(store, ApiSettings(SECRET_KEY, token_poll_seconds=0))
        clock = Clock(store.now_ms())
        job = PolicyJob(store, "job", clock, secret_key=SECRET_KEY)
        try:
            admin = Caller(app.test_client(), ADMIN_TOKEN)
            states = States(app, store, admin, job, clock, Sdk(store, "default", "a" * 32))
            _reach_every_state(states)
            yield states
        finally:
            app.extensions["tidegate"].close()
            store.close()
            valkey.stop()


def _reach_every_state(states: States) -> None:
    admin = states.admin
    for key, policy in POLICIES.items():
        admin.post_ok(f"{PROJECT}/policies", {"key": key, "interval": "1s", **policy})
    states.start("draft", "slow", draft=True)
    states.start("running", "slow")
    states.start("too-few", "hungry", FEW)
    states.start("nobody-asks", "watchful", SILENT)
    states.start("awaiting", "asking")
    states.start("cooling", "retrying", BROKEN)
    states.start("paused", "slow")
    states.start("stopped", "slow")
    states.start("baking", "baking")
    states.start("retreated", "baking")
    states.start("killed", "slow")
    states.start("rolled-back", "slow", BROKEN)
    states.start("completed", "quick")
    states.evaluate(3)
    admin.post_ok(f"{states.path('paused')}/pause", {"reason": "I want to look at the logs"})
    admin.post_ok(f"{states.path('stopped')}/pause", {"reason": "hands off", "stop": True})
    kill = {"reason": "customers are charged twice", "url": "https://incidents.example.com/1"}
    admin.post_ok(f"{PRODUCTION}/flags/killed/kill", kill)
    while states.release("retreated").state is not State.BAKING:
        states.evaluate(1)
    states.reported["retreated"] = RISING
    while states.release("retreated").stage > 1:
        states.evaluate(1)
    del states.reported["retreated"]
    while states.release("completed").state is not State.COMPLETED:
        states.evaluate(1)
    # Otherwise it counts as live for a few seconds more.
    states.sdk.leave()
