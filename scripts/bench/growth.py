"""What changes and pages cost in a project of many flags; baseline: the same in one of ten.

The cost is the CPU time of the web process and of the store together. The time until a change is on
the disk is the same for all, and would hide what grows.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from typing import Any

from tidegate_server.admin.bootstrap import bootstrap
from tidegate_server.admin.configuration.importing import ImportRequest, apply
from tidegate_server.application import create_app
from tidegate_server.domain.callers import Caller
from tidegate_server.domain.network_addresses import PUBLIC_ONLY
from tidegate_server.domain.permissions import Grant, Permission
from tidegate_server.policy_job import PolicyJob
from tidegate_server.processes import logging_setup
from tidegate_server.store import Store, connection
from tidegate_server.web.settings import ApiSettings

from scripts.bench.measure import Batch, Result, benchmark, compare, compare_values
from scripts.bench.places import TOKEN, store

FEW, SOME, MANY = 10, 1_000, 10_000
ENVIRONMENTS = ("development", "production")
PAGE = 10
TIMES = 5
ROUNDS = 11
LIMIT = 1.5
IMPORT_SECONDS = 20.0
ANSWER_SECONDS = 60.0
POLICY = {
    "key": "slow",
    "interval": "1m",
    "stages": [
        {"percentage": 10, "min_duration": "1h", "min_samples": 1_000},
        {"percentage": 100, "min_duration": "0s", "min_samples": 10},
    ],
    "bake": "1h",
}
SECRET = b"a secret key for benchmarks"
CALLER = Caller("bench", "bench", "bench", (Grant(frozenset(Permission)),), "bench")
HEADERS = {"Authorization": f"Bearer {TOKEN}", "If-Match": "*"}

numbers = count()
"""Numbers that make every change another one, and every search."""


@benchmark
def changes_and_pages() -> Iterator[Result]:
    """A change and a page in a project of 1,000 and of 10,000 flags, against one of 10."""
    logging_setup.configure("warning", "console")  # no line for each request
    with ExitStack() as stack:
        projects = {flags: _Project(stack.enter_context(store())) for flags in (FEW, SOME, MANY)}
        seconds = {flags: project.fill(flags) for flags, project in projects.items()}
        yield compare_values(
            f"an import of {MANY:,} flags", seconds[MANY], "a budget", IMPORT_SECONDS
        )
        for name, batch_of in MEASURED.items():
            baseline = batch_of(projects[FEW])
            for flags in (SOME, MANY):
                yield compare(
                    f"{name}, {flags:,} flags",
                    batch_of(projects[flags]),
                    f"{FEW} flags",
                    baseline,
                    rounds=ROUNDS,
                    limit=LIMIT,
                )
        for project in projects.values():
            project.close()


class _Project:
    """A project with many flags in a store of its own, with two servers and a policy job."""

    def __init__(self, url: str) -> None:
        self._raw = connection.open_client(url)
        # A busy machine may take longer than a server waits; what counts here is the CPU time.
        self._store, self._elsewhere = (
            Store(url, connection.open_connection(url, ANSWER_SECONDS), on_disk=True)
            for _ in range(2)
        )
        bootstrap(self._store, SECRET, TOKEN)
        # Each application has documents of its own in memory, as two servers have.
        self._here = create_app(self._store, ApiSettings(SECRET)).test_client()
        self._there = create_app(self._elsewhere, ApiSettings(SECRET)).test_client()
        now_ms = self._store.now_ms()
        self.job = PolicyJob(Store.connect(url), "bench", lambda: now_ms)

    def close(self) -> None:
        """Close the connections to the store."""
        self._store.close()
        self._elsewhere.close()

    def fill(self, flags: int) -> float:
        """Create flags in one import; return what that cost."""
        configuration = {"flags": [_flag(f"flag-{number:05}") for number in range(flags)]}
        text = json.dumps(configuration)
        request = ImportRequest("default", text, CALLER, "a benchmark", PUBLIC_ONLY, "127.0.0.1")
        began = self.cpu_seconds()
        apply(self._store, request)
        seconds = self.cpu_seconds() - began
        self.send("POST", "policies", POLICY)
        release = {"flag": "flag-00005", "treatment": "on", "policy": "slow"}
        self.send("POST", "environments/production/releases", release)
        return seconds

    def cpu_seconds(self) -> float:
        """Return the CPU time that this process and the store have used."""
        used: Any = self._raw.info("cpu")
        both = used["used_cpu_user_main_thread"] + used["used_cpu_sys_main_thread"]
        return float(both) + time.process_time()

    def send(self, method: str, path: str, body: Any = None, *, there: bool = False) -> None:
        """Send a request that must succeed."""
        client = self._there if there else self._here
        path = f"/api/v1/projects/default/{path}"
        answer = client.open(path, method=method, json=body, headers=HEADERS)
        assert answer.status_code in (200, 201, 204), answer.text


def _flag(key: str) -> dict[str, Any]:
    return {
        "key": key,
        "type": "boolean",
        "name": f"The flag {key}",
        "description": "What the page after the payment shows to customers in the new design.",
        "tags": ["shop", "checkout"],
        "owner": "payments",
        "targeting": {each: _targeting() for each in ENVIRONMENTS},
    }


def _targeting(**fields: Any) -> dict[str, Any]:
    return {"enabled": True, "off_variant": "off", "default": {"variant": "off"}, **fields}


def _definition(key: str) -> dict[str, Any]:
    fields = {name: value for name, value in _flag(key).items() if name != "targeting"}
    values = [{"key": "on", "value": True}, {"key": "off", "value": False}]
    return {**fields, "variants": values}


def _edit_targeting(project: _Project) -> None:
    rule = {
        "id": f"rule-{next(numbers)}",
        "when": {"attribute": "country", "operator": "equals", "value": "DE"},
        "serve": {"variant": "on"},
    }
    project.send("PUT", "environments/production/flags/flag-00001", _targeting(rules=[rule]))


def _edit_flag(project: _Project, *, there: bool = False) -> None:
    fields = {**_definition("flag-00002"), "name": f"The flag {next(numbers)}"}
    project.send("PUT", "flags/flag-00002", fields, there=there)


def _kill(project: _Project) -> None:
    for action in ("kill", "restore"):
        project.send("POST", f"environments/production/flags/flag-00003/{action}", _reason())


def _archive(project: _Project) -> None:
    for action in ("archive", "unarchive"):
        project.send("POST", f"flags/flag-00004/{action}", _reason())


def _reason() -> dict[str, str]:
    return {"reason": "a benchmark"}


def _create_and_delete(project: _Project) -> None:
    key = f"new-{next(numbers)}"
    project.send("POST", "flags", _definition(key))
    project.send("DELETE", f"flags/{key}?force=true")


def _tick(project: _Project) -> None:
    project.job.tick()


def _page(path: str) -> Callable[[_Project], None]:
    def read(project: _Project) -> None:
        project.send("GET", f"{path}limit={PAGE}")

    return read


def _search(project: _Project) -> None:
    """Search for one flag with words that nobody searched for lately."""
    number = next(numbers)
    words = "+".join([f"flag-0000{number % 7}", *["page"] * (1 + number % 11)])
    project.send("GET", f"environments/production/flags?limit={PAGE}&q={words}")


def _cost(
    act: Callable[[_Project], None], *, after_a_change: bool = False
) -> Callable[[_Project], Batch]:
    """Return what measures an act, each time after a change by another server or without one."""

    def batch_of(project: _Project) -> Batch:
        def batch() -> float:
            seconds = 0.0
            for _ in range(TIMES):
                if after_a_change:
                    _edit_flag(project, there=True)
                began = project.cpu_seconds()
                act(project)
                seconds += project.cpu_seconds() - began
            return seconds / TIMES

        return batch

    return batch_of


IN_ENVIRONMENT = "environments/production/flags?expand=flag,release&"

MEASURED: dict[str, Callable[[_Project], Batch]] = {
    "a new targeting": _cost(_edit_targeting),
    "a new definition": _cost(_edit_flag),
    "the same after a change elsewhere": _cost(_edit_flag, after_a_change=True),
    "a creation and a deletion": _cost(_create_and_delete),
    "an archiving and its end": _cost(_archive),
    "a kill and its end": _cost(_kill),
    "a tick of the policy job after a change": _cost(_tick, after_a_change=True),
    "the first page": _cost(_page(IN_ENVIRONMENT)),
    "the first page after a change elsewhere": _cost(_page(IN_ENVIRONMENT), after_a_change=True),
    "a search": _cost(_search),
    "a search after a change elsewhere": _cost(_search, after_a_change=True),
}
