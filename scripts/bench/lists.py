"""The first page of a list of many flags, or about one object in a long audit log.

Baseline: the same page of a project with few flags, or entries.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from flask.testing import FlaskClient
from tidegate.model import Serve, Variant
from tidegate_server.admin.bootstrap import bootstrap
from tidegate_server.application import create_app
from tidegate_server.domain.change import Address, Audit, Change, Put
from tidegate_server.domain.flags import FlagDefinition, Targeting
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.projects import Environment, Project
from tidegate_server.store import Store
from tidegate_server.web.settings import ApiSettings

from scripts.bench.measure import Batch, Result, benchmark, compare, compare_values, repeat
from scripts.bench.places import TOKEN, store

FEW, MANY = 10, 10_000
SHORT, LONG = 500, 50_000
PAGE = 10
TIMES = 10
ROUNDS = 51
LIMIT = 3.0
PRODUCTION = "production"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
VARIANTS = (Variant("on", True), Variant("off", False))


@benchmark
def first_page() -> Iterator[Result]:
    """The first page of 10,000 flags; baseline: the only page of 10 flags."""
    with store() as url:
        opened = Store.connect(url)
        bootstrap(opened, b"a secret key for benchmarks", TOKEN)
        _fill(opened, "few", FEW)
        _fill(opened, "many", MANY)
        client = create_app(opened, ApiSettings(b"a secret key for benchmarks")).test_client()
        few, many = f"a page of {FEW} flags", f"the first page of {MANY:,} flags"
        for name, path, query in (
            ("definitions", "flags", ""),
            ("in an environment", f"environments/{PRODUCTION}/flags", "&expand=flag,release"),
            ("by last change", f"environments/{PRODUCTION}/flags", "&sort=-updated"),
        ):
            yield compare(
                f"{many}, {name}",
                _pages(client, f"/api/v1/projects/many/{path}?limit={PAGE}{query}"),
                few,
                _pages(client, f"/api/v1/projects/few/{path}?limit={PAGE}{query}"),
                rounds=ROUNDS,
                limit=LIMIT,
            )
        path = f"environments/{PRODUCTION}/flags?limit={PAGE}"
        baseline = _pages(client, f"/api/v1/projects/few/{path}")
        yield compare_values(
            f"{many}, right after a change",
            min(_after_a_change(opened, client, f"/api/v1/projects/many/{path}", n) for n in "abc"),
            few,
            baseline(),
            limit=LIMIT,
        )
        opened.close()


@benchmark
def entries_about_one_object() -> Iterator[Result]:
    """The entries about one of many flags in an audit log of 50,000; baseline: in one of 500."""
    with store() as url:
        opened = Store.connect(url)
        bootstrap(opened, b"a secret key for benchmarks", TOKEN)
        for project, length in (("short", SHORT), ("long", LONG)):
            _fill(opened, project, 1)
            _lengthen_log(opened, project, length)
        client = create_app(opened, ApiSettings(b"a secret key for benchmarks")).test_client()
        query = f"audit?object=flag&key=flag-00001&limit={PAGE}"
        yield compare(
            f"the entries about a flag, in a log of {LONG:,}",
            _pages(client, f"/api/v1/projects/long/{query}"),
            f"in a log of {SHORT}",
            _pages(client, f"/api/v1/projects/short/{query}"),
            rounds=ROUNDS,
            limit=LIMIT,
        )
        opened.close()


def _lengthen_log(opened: Store, project: str, length: int) -> None:
    """Add entries to an audit log; the first ones are about the flag that is asked for."""
    for begin in range(0, length, 500):
        flags = [f"flag-{max(1, number - PAGE):05}" for number in range(begin, begin + 500)]
        entries = [Audit("bench", "flag.edit", flag, reason="to fill the log") for flag in flags]
        opened.commit_many([Change(project, (), audit=each) for each in entries], durable=False)


def _pages(client: FlaskClient, path: str) -> Batch:
    def read() -> None:
        answer = client.get(path, headers=HEADERS)
        assert answer.status_code == 200, answer.text

    return repeat(TIMES, read)


def _after_a_change(opened: Store, client: FlaskClient, path: str, name: str) -> float:
    """Return how long the first page takes after a change of one flag."""
    address = Address(Kind.FLAG, "flag-00001")
    present = opened.get("many", address)
    assert present is not None
    new = FlagDefinition("flag-00001", "boolean", VARIANTS, "flag-00001", name=name)
    opened.commit(Change("many", (Put(address, new, present.revision),), audit=_audit()))
    began = time.perf_counter()
    client.get(path, headers=HEADERS)
    return time.perf_counter() - began


def _fill(opened: Store, project: str, count: int) -> None:
    """Create a project with so many flags, as an import would."""
    address = Address(Kind.PROJECT, project)
    opened.commit(Change("", (Put(address, Project(project), 0),), audit=_audit()))
    environment = Put(Address(Kind.ENVIRONMENT, PRODUCTION), Environment(PRODUCTION), 0)
    opened.commit(Change(project, (environment,), audit=_audit()))
    keys = [f"flag-{number:05}" for number in range(count)]
    for begin in range(0, count, 500):
        writes = tuple(
            put for key in keys[begin : begin + 500] for put in (_definition(key), _targeting(key))
        )
        opened.commit(Change(project, writes, audit=_audit()), durable=False)


def _definition(key: str) -> Put:
    flag = FlagDefinition(
        *(key, "boolean", VARIANTS, key),
        name=f"The flag {key}",
        description="What the page after the payment shows to customers in the new design.",
        tags=("shop", "checkout"),
        owner="payments",
    )
    return Put(Address(Kind.FLAG, key), flag, 0)


def _targeting(key: str) -> Put:
    targeting = Targeting(key, enabled=True, off_variant="off", default=Serve("on"))
    return Put(Address(Kind.TARGETING, key, PRODUCTION), targeting, 0)


def _audit() -> Audit:
    return Audit("bench", "project.fill", "bench")
