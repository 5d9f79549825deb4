"""Flags to evaluate in benchmarks, timed evaluations of them, and their baseline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import mmh3
import tidegate

from scripts.bench.measure import Batch

TIMES = 1_000
"""So short that most pairs of batches are over before another program interferes."""

USER = "user-42"
HASH_BASELINE = 'mmh3.hash(f"{salt}:{key}") < x'


def flag(key: str, **fields: Any) -> dict[str, Any]:
    """Return a boolean flag of a snapshot, off by default."""
    return {
        "key": key, "type": "boolean", "version": 1, "salt": key,
        "variants": [{"key": "on", "value": True}, {"key": "off", "value": False}],
        "enabled": True, "off_variant": "off", "default": {"variant": "off", "split": []},
        "rules": [], "prerequisites": [], "killed": None, "release": None, **fields,
    }  # fmt: skip


def release(percentage: int, rule: str | None = None, id: str = "rel_1") -> dict[str, Any]:
    """Return a release that has opened ``on`` to a percentage of users."""
    return {
        "id": id, "rule": rule, "control": "off", "treatment": "on", "salt": id,
        "stage": 1, "step": 1, "report_interval": 1.0,
        "openings": [{"stage": 1, "percentage": percentage, "segments": []}],
    }  # fmt: skip


COLOURS = ("blue", "green", "red")
SPLIT = [
    {"variant": "blue", "weight": 50},
    {"variant": "green", "weight": 25},
    {"variant": "red", "weight": 25},
]


def string_flag(key: str, **fields: Any) -> dict[str, Any]:
    """Return a string flag of a snapshot with three variants, split among all users."""
    return flag(
        key,
        type="string",
        variants=[{"key": name, "value": f"the {name} one"} for name in COLOURS],
        off_variant="blue",
        default={"variant": None, "split": SPLIT},
        **fields,
    )


def rule(id: str, when: dict[str, Any], variant: str = "on") -> dict[str, Any]:
    """Return a rule that serves a variant."""
    return {"id": id, "when": when, "serve": {"variant": variant, "split": []}}


def equals(attribute: str, value: str) -> dict[str, Any]:
    """Return a condition on an attribute."""
    return {"attribute": attribute, "operator": "equals", "value": value}


def snapshot(flags: list[dict[str, Any]], version: int = 1) -> dict[str, Any]:
    """Return a snapshot with these flags and no segments."""
    return {
        "schema": 1, "project": "bench", "environment": "production", "version": version,
        "flags": {flag["key"]: flag for flag in flags},
        "segments": {},
    }  # fmt: skip


def hash_baseline() -> float:
    """Compute one hash and compare it: the least that a percentage rollout needs."""
    hash_, salt, key, x = mmh3.hash, "rel_1", USER, 1 << 30
    turns = range(TIMES)
    began = time.perf_counter()
    for _ in turns:
        hash_(f"{salt}:{key}") < x  # noqa: B015 - the whole baseline
    return (time.perf_counter() - began) / TIMES


def in_operation(client: tidegate.Client, context: tidegate.Context, batch: Batch) -> Batch:
    """Return a batch that runs in an operation, which counts the exposures."""

    def run() -> float:
        with client.operation(context):
            return batch()

    return run


def evaluations(client: tidegate.Client, key: str, default: bool | str = False) -> Batch:
    """Return a batch that evaluates a flag for the context of the operation.

    The default's type decides which method is called.
    """
    evaluate: Callable[[str, Any], object] = client.boolean
    if isinstance(default, str):
        evaluate = client.string

    def batch() -> float:
        turns = range(TIMES)
        began = time.perf_counter()
        for _ in turns:
            evaluate(key, default)
        return (time.perf_counter() - began) / TIMES

    return batch


def evaluations_for(client: tidegate.Client, key: str, context: tidegate.Context) -> Batch:
    """Return a batch that evaluates a flag for another context."""
    boolean = client.boolean

    def batch() -> float:
        turns = range(TIMES)
        began = time.perf_counter()
        for _ in turns:
            boolean(key, False, context)
        return (time.perf_counter() - began) / TIMES

    return batch
