"""The cost of an evaluation to the application."""

from __future__ import annotations

import time
from collections.abc import Iterator

import tidegate

from scripts.bench._flags import (
    HASH_BASELINE,
    TIMES,
    USER,
    evaluations,
    evaluations_for,
    flag,
    hash_baseline,
    in_operation,
    release,
    snapshot,
)
from scripts.bench.measure import Result, benchmark, compare

ROUNDS = 2_001
LIMIT = 3.5
FLAG = "new-checkout"
PERCENTAGE = 20


@benchmark
def percentage_rollout() -> Iterator[Result]:
    """A percentage rollout, its exposure counted in the operation that evaluates it."""
    client = tidegate.Client.offline(snapshot([flag(FLAG, release=release(PERCENTAGE))]))
    user = tidegate.Context(USER, plan="pro", country="DE")
    other = tidegate.Context("user-43")

    def operations() -> float:
        boolean = client.boolean
        began = time.perf_counter()
        for _ in range(TIMES):
            with client.operation(user):
                boolean(FLAG, False)
        return (time.perf_counter() - began) / TIMES

    for_user = in_operation(client, user, evaluations(client, FLAG))
    for_another_user = in_operation(client, user, evaluations_for(client, FLAG, other))
    outside = evaluations_for(client, FLAG, user)
    yield compare("boolean()", for_user, HASH_BASELINE, hash_baseline, rounds=ROUNDS, limit=LIMIT)
    for name, batch in (
        ("boolean() for another user", for_another_user),
        ("boolean() outside an operation", outside),
        ("an operation with one boolean()", operations),
    ):
        yield compare(name, batch, HASH_BASELINE, hash_baseline, rounds=ROUNDS // 4)
