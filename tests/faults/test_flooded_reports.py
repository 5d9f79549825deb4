"""A hostile SDK token floods one project with reports; a release of another one goes on.

Everything is real: the API with its schema, the store, and the policy job in its loop.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient
from tidegate_server.admin.bootstrap import bootstrap
from tidegate_server.application import create_app
from tidegate_server.decisions.progress import Progress
from tidegate_server.domain.change import Address
from tidegate_server.domain.kinds import Kind
from tidegate_server.policy_job import PolicyJob
from tidegate_server.store import Store
from tidegate_server.store.embedded import EmbeddedValkey
from tidegate_server.web.settings import ApiSettings

from tests.http_calls import Caller
from tests.waiting import until

SECRET_KEY = b"a secret key for tests only"
POLICY = {
    "key": "quick",
    "interval": "1s",
    "stages": [
        {"percentage": 50, "min_duration": "1h", "min_samples": 10},
        {"percentage": 100, "min_duration": "1h", "min_samples": 10},
    ],
}
HOSTILE = 20
EVALUATIONS = 5


@dataclass(frozen=True)
class Shop:
    """A project with one release, and a token of its applications."""

    project: str
    release: str
    sdk: Caller

    def report(self, instance: str, sequence: int, **parts: Any) -> Any:
        body = {
            "schema": 1,
            "instance": instance,
            "sequence": sequence,
            "continues": sequence > 1,
            "version": 1,
            "interval": 1.0,
            "sdk": "hostile/1",
            "host": "h",
            "pid": 1,
            "counts": [],
            "failing": [],
            **parts,
        }
        return self.sdk.post("/sdk/v1/reports", body)

    def group(self, total: int, step: int = 1, stratum: int = 1) -> dict[str, Any]:
        arm = {"exposures": total, "outcomes": total, "errors": 0, "microseconds": total}
        place = {"release": self.release, "step": step, "stratum": stratum}
        return {**place, "control": arm, "treatment": arm}


@pytest.fixture
def client(store: Store) -> Iterator[FlaskClient]:
    bootstrap(store, SECRET_KEY, "an-admin-token-for-tests")
    app = create_app(store, ApiSettings(SECRET_KEY))
    yield app.test_client()
    app.extensions["tidegate"].close()


def shop(client: FlaskClient, project: str) -> Shop:
    admin = Caller(client, "an-admin-token-for-tests")
    admin.post_ok("/api/v1/projects", {"key": project})
    at = f"/api/v1/projects/{project}"
    admin.post_ok(f"{at}/environments", {"key": "production"})
    admin.post_ok(f"{at}/flags", {"key": "checkout", "type": "boolean"})
    targeting = admin.get(f"{at}/environments/production/flags/checkout")
    body = {
        name: (targeting.json or {})[name]
        for name in ("off_variant", "default", "rules", "prerequisites")
    }
    admin.put(
        f"{at}/environments/production/flags/checkout",
        {**body, "enabled": True},
        match=targeting.headers["ETag"],
    )
    admin.post_ok(f"{at}/policies", POLICY)
    started = admin.post_ok(
        f"{at}/environments/production/releases",
        {"flag": "checkout", "treatment": "on", "policy": "quick"},
    )
    return Shop(project, started["id"], admin.token_for("sdk", project, "production"))


@pytest.fixture
def victim(client: FlaskClient) -> Shop:
    return shop(client, "victim")


@pytest.fixture
def attacked(client: FlaskClient) -> Shop:
    return shop(client, "attacked")


@pytest.fixture
def job(valkey: EmbeddedValkey) -> Iterator[None]:
    """The policy job in its loop, on its own connection."""
    store, stop = Store.connect(valkey.url), threading.Event()
    thread = threading.Thread(target=PolicyJob(store, "job-1").run, args=(stop,))
    thread.start()
    yield
    stop.set()
    thread.join()
    store.close()


def windows(store: Store, of: Shop) -> int:
    stored = store.get(of.project, Address(Kind.PROGRESS, of.release, "production"))
    progress: Progress | None = None if stored is None else stored.document
    return 0 if progress is None else progress.windows


def evaluated_again(store: Store, *shops: Shop) -> None:
    """Wait until each release has been evaluated several times more."""
    before = [(of, windows(store, of)) for of in shops]
    until(
        lambda: all(windows(store, of) >= seen + EVALUATIONS for of, seen in before),
        "evaluations",
    )


def memory(raw: redis.Redis, kind: str, of: Shop) -> int:
    keys: Any = raw.keys(f"tg:{{{of.project}}}:{kind}:*")
    return sum(int(raw.memory_usage(key) or 0) for key in keys)


@pytest.fixture
def raw(valkey: EmbeddedValkey) -> Iterator[redis.Redis]:
    with redis.Redis(unix_socket_path=str(valkey.socket)) as connection:
        yield connection


def test_invented_groups_neither_grow_evidence_nor_delay_other_releases(
    store: Store, raw: redis.Redis, victim: Shop, attacked: Shop, job: None
) -> None:
    evaluated_again(store, victim, attacked)
    sizes = set()
    for number in range(HOSTILE):
        counts = [attacked.group(1, step=number * 1_000 + n, stratum=n % 50) for n in range(1_000)]
        answer = attacked.report(f"{number:032x}", 1, counts=counts)
        assert answer.status_code == 200, answer.text
        assert answer.json["ignored"] >= 996
        sizes.add(len(json.dumps(counts)))
    assert min(sizes) > 200_000
    assert attacked.report("f" * 32, 1, counts=[attacked.group(1)] * 5_000).status_code == 422

    assert memory(raw, "evidence", attacked) < 10_000
    assert memory(raw, "instance", attacked) < HOSTILE * 2_000
    evaluated_again(store, victim, attacked)


def test_full_counters_keep_no_report_from_counting(
    store: Store, victim: Shop, attacked: Shop, job: None
) -> None:
    for number in range(HOSTILE):
        answer = attacked.report(f"{number:032x}", 1, counts=[attacked.group(10**12)])
        assert answer.status_code == 200, answer.text
        absurd = attacked.report(f"{number:032x}", 2, counts=[attacked.group(2**53)])
        assert absurd.status_code == 422, absurd.text
    honest = [attacked.report("e" * 32, n, counts=[attacked.group(100 * n)]) for n in (1, 2, 2)]
    assert [answer.status_code for answer in honest] == [200, 200, 200]
    (reading,) = store.evidence.totals(attacked.project, "production", attacked.release).readings
    assert reading.treatment.outcomes == HOSTILE * 10**12 + 200
    evaluated_again(store, victim, attacked)


def test_thousands_of_made_up_instances_do_not_stop_an_honest_one(
    store: Store, victim: Shop, attacked: Shop, job: None
) -> None:
    limits = replace(store.evidence._limits, instances=50, new_per_minute=100)
    store.evidence._limits = limits
    assert attacked.report("e" * 32, 1, counts=[attacked.group(1)]).status_code == 200
    statuses = set()
    for number in range(2, 300):
        answer = attacked.report(f"{number:032x}", 1)
        statuses.add(answer.status_code)
        if number % 20 == 0:
            honest = attacked.report("e" * 32, number, counts=[attacked.group(number)])
            assert honest.status_code == 200
    assert statuses == {200, 429}
    assert len(store.instances.all(attacked.project, "production")) <= 50
    evaluated_again(store, victim, attacked)
