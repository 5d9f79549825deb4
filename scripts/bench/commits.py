"""What a change costs until the store's disk has it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from tidegate.model import Variant
from tidegate_server.domain import flag_edits, project_edits
from tidegate_server.domain.change import Kind
from tidegate_server.domain.flags import FlagDefinition, Targeting
from tidegate_server.domain.kill_switch import kill, restore
from tidegate_server.domain.project_documents import (
    ProjectDocuments,
)
from tidegate_server.domain.projects import Environment, Project
from tidegate_server.store import Store, connection

from scripts.bench.measure import Batch, Found, benchmark, compare, each
from scripts.bench.places import store

TIMES = 10
ROUNDS = 101
LIMIT = 3.0
PROJECT = "shop"
PRODUCTION = "production"


@benchmark
def durable() -> Iterator[Found]:
    """A kill, committed durably: document, version, snapshot, stream event and audit entry."""
    with store() as url:
        opened = Store.connect(url)
        yield compare(
            "commit, durable",
            _latching(opened),
            "SET + WAITAOF",
            _bare(url),
            rounds=ROUNDS,
            limit=LIMIT,
        )
        opened.close()


def _bare(url: str) -> Batch:
    client = connection.open_client(url)
    value = "x" * 500

    def once() -> None:
        pipe = client.pipeline(transaction=False)
        pipe.set("bare", value)
        pipe.execute_command("WAITAOF", 1, 0, 3_000)  # type: ignore[no-untyped-call]
        pipe.execute()

    return each(TIMES, once)


def _latching(opened: Store) -> Batch:
    """Kill a flag and restore it, in turns; only the commits are timed."""
    _make_flag(opened)
    turn = [kill, restore]

    def batch() -> float:
        taken = 0.0
        for _ in range(TIMES):
            contents = _contents(opened)
            now_ms = contents.targeting(PRODUCTION, "checkout").updated_ms
            change = turn[0](
                contents, PRODUCTION, "checkout", actor="dana", reason="it hurts", now_ms=now_ms
            )
            turn.reverse()
            began = time.perf_counter()
            opened.commit(change)
            taken += time.perf_counter() - began
        return taken / TIMES

    return batch


def _make_flag(opened: Store) -> None:
    opened.commit(project_edits.new_project(Project(PROJECT), actor="dana"))
    opened.commit(
        project_edits.new_environment(
            ProjectDocuments(PROJECT), Environment(PRODUCTION), actor="dana"
        )
    )
    flag = FlagDefinition("checkout", "boolean", (Variant("on", True), Variant("off", False)), "")
    opened.commit(flag_edits.new_flag(_contents(opened), flag, actor="dana"))
    contents = _contents(opened)
    before: Targeting = contents.targeting(PRODUCTION, "checkout").document
    opened.commit(
        flag_edits.edit_targeting(contents, PRODUCTION, replace(before, enabled=True), actor="dana")
    )


def _contents(opened: Store) -> ProjectDocuments:
    return ProjectDocuments(
        PROJECT,
        environments=opened.all(PROJECT, Kind.ENVIRONMENT),
        flags=opened.all(PROJECT, Kind.FLAG),
        targetings={PRODUCTION: opened.all(PROJECT, Kind.TARGETING, PRODUCTION)},
        releases={PRODUCTION: {}},
    )
