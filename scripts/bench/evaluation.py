"""What a flag costs where it is asked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import mmh3
import tidegate

from scripts.bench.measure import Batch, Found, benchmark, compare

TIMES = 2_000
"""Short enough that a pair of batches is mostly over before another program interferes."""

ROUNDS = 1_001
LIMIT = 3.5
SALT = "rel_1"
USER = "user-42"
PERCENTAGE = 20

SNAPSHOT: dict[str, Any] = {
    "schema": 1,
    "project": "default",
    "environment": "production",
    "version": 1,
    "flags": {
        "new-checkout": {
            "key": "new-checkout",
            "type": "boolean",
            "version": 1,
            "salt": "new-checkout",
            "variants": [{"key": "on", "value": True}, {"key": "off", "value": False}],
            "enabled": True,
            "off_variant": "off",
            "default": {"variant": "off", "split": []},
            "rules": [],
            "prerequisites": [],
            "killed": None,
            "release": {
                "id": "rel_1",
                "rule": None,
                "control": "off",
                "treatment": "on",
                "salt": SALT,
                "stage": 1,
                "step": 1,
                "openings": [{"stage": 1, "percentage": PERCENTAGE, "segments": []}],
                "report_interval": 1.0,
            },
        }
    },
    "segments": {},
}


def _floor() -> Batch:
    salt, key, x = SALT, USER, (1 << 31) * PERCENTAGE // 100

    def batch() -> float:
        began = time.perf_counter()
        for _ in range(TIMES):
            mmh3.hash(f"{salt}:{key}") < x  # noqa: B015 - the floor, which is all there is
        return (time.perf_counter() - began) / TIMES

    return batch


@benchmark
def in_an_operation() -> Iterator[Found]:
    """A percentage rollout, its exposure counted in the unit of work that asks."""
    client = tidegate.Client.offline(SNAPSHOT)
    user = tidegate.Context(USER, plan="pro", country="DE")
    other = tidegate.Context("user-43")
    boolean = client.boolean
    floor = 'mmh3.hash(f"{salt}:{key}") < x'

    def within() -> float:
        with client.operation(user):
            began = time.perf_counter()
            for _ in range(TIMES):
                boolean("new-checkout", False)
            return (time.perf_counter() - began) / TIMES

    def for_another() -> float:
        with client.operation(user):
            began = time.perf_counter()
            for _ in range(TIMES):
                boolean("new-checkout", False, other)
            return (time.perf_counter() - began) / TIMES

    def alone() -> float:
        began = time.perf_counter()
        for _ in range(TIMES):
            boolean("new-checkout", False, user)
        return (time.perf_counter() - began) / TIMES

    def whole() -> float:
        began = time.perf_counter()
        for _ in range(TIMES):
            with client.operation(user):
                boolean("new-checkout", False)
        return (time.perf_counter() - began) / TIMES

    yield compare("boolean()", within, floor, _floor(), rounds=ROUNDS, limit=LIMIT)
    for name, batch in (
        ("boolean() for another user", for_another),
        ("boolean() outside of a unit of work", alone),
        ("a unit of work, and boolean() in it", whole),
    ):
        yield compare(name, batch, floor, _floor(), rounds=ROUNDS // 4)
