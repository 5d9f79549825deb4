"""The time of a change until it is on the store's disk."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from tidegate.model import Variant
from tidegate_server.domain import flag_edits, project_edits
from tidegate_server.domain.flags import FlagDefinition, Targeting
from tidegate_server.domain.kill_switch import kill, restore
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.project_documents import ProjectDocuments
from tidegate_server.domain.projects import Environment, Project
from tidegate_server.store import Store, connection

from scripts.bench.measure import Batch, Result, benchmark, compare, repeat
from scripts.bench.places import store

TIMES = 10
ROUNDS = 101
LIMIT = 3.0
PROJECT = "shop"
PRODUCTION = "production"


@benchmark
def durable_commit() -> Iterator[Result]:
    """A kill, committed durably: document, version, snapshot, stream event and audit entry."""
    with store() as url:
        opened = Store.connect(url)
        yield compare(
            "commit, durable",
            _kills_and_restores(opened),
            "SET + WAITAOF",
            _durable_sets(url),
            rounds=ROUNDS,
            limit=LIMIT,
        )
        opened.close()


def _durable_sets(url: str) -> Batch:
    """Return the baseline: one value, written and on the disk."""
    client = connection.open_client(url)
    value = "x" * 500

    def set_durably() -> None:
        pipe = client.pipeline(transaction=False)
        pipe.set("baseline", value)
        pipe.execute_command("WAITAOF", 1, 0, 3_000)  # type: ignore[no-untyped-call]
        pipe.execute()

    return repeat(TIMES, set_durably)


def _kills_and_restores(opened: Store) -> Batch:
    """Return a batch that kills and restores a flag in turn; it times only the commits."""
    _create_flag(opened)
    edits = [kill, restore]

    def batch() -> float:
        seconds = 0.0
        for _ in range(TIMES):
            documents = _documents(opened)
            now_ms = documents.targeting(PRODUCTION, "checkout").updated_ms
            change = edits[0](
                documents, PRODUCTION, "checkout", actor="dana", reason="errors", now_ms=now_ms
            )
            edits.reverse()
            began = time.perf_counter()
            opened.commit(change)
            seconds += time.perf_counter() - began
        return seconds / TIMES

    return batch


def _create_flag(opened: Store) -> None:
    opened.commit(project_edits.new_project(Project(PROJECT), actor="dana"))
    opened.commit(
        project_edits.new_environment(
            ProjectDocuments(PROJECT), Environment(PRODUCTION), actor="dana"
        )
    )
    flag = FlagDefinition("checkout", "boolean", (Variant("on", True), Variant("off", False)), "")
    opened.commit(flag_edits.new_flag(_documents(opened), flag, actor="dana"))
    documents = _documents(opened)
    before: Targeting = documents.targeting(PRODUCTION, "checkout").document
    opened.commit(
        flag_edits.edit_targeting(
            documents, PRODUCTION, replace(before, enabled=True), actor="dana", now_ms=0
        )
    )


def _documents(opened: Store) -> ProjectDocuments:
    return ProjectDocuments(
        PROJECT,
        read=opened.moment(PROJECT),
        environments=opened.all(PROJECT, Kind.ENVIRONMENT),
        flags=opened.all(PROJECT, Kind.FLAG),
        targetings={PRODUCTION: opened.all(PROJECT, Kind.TARGETING, PRODUCTION)},
        releases={PRODUCTION: {}},
    )
