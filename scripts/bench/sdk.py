"""What the SDK costs its host: each question, changes meanwhile, import, memory."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import py_compile
import subprocess
import sys
import sysconfig
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import mmh3
import tidegate
import tidegate_server

from scripts.bench import _peers
from scripts.bench.measure import Batch, Found, Quantiles, Ratio, benchmark, compare, each

TIMES = 1_000
ROUNDS = 301
FLAGS = 1_000
USER = "user-42"
FLOOR = 'mmh3.hash(f"{salt}:{key}") < x'
IMPORT_LIMIT = 0.040
LOAD_LIMIT = 0.015
BYTES_LIMIT = 5_000_000
PACKAGES_LIMIT = 5
INSTALLED_LIMIT = 6_000_000
ALIVE_SECONDS = 4.0


def _flag(key: str, **more: Any) -> dict[str, Any]:
    return {
        "key": key, "type": "boolean", "version": 1, "salt": key,
        "variants": [{"key": "on", "value": True}, {"key": "off", "value": False}],
        "enabled": True, "off_variant": "off", "default": {"variant": "off", "split": []},
        "rules": [], "prerequisites": [], "killed": None, "release": None, **more,
    }  # fmt: skip


def _release(percentage: int, rule: str | None = None, id: str = "rel_1") -> dict[str, Any]:
    return {
        "id": id, "rule": rule, "control": "off", "treatment": "on", "salt": id,
        "stage": 1, "step": 1, "report_interval": 1.0,
        "openings": [{"stage": 1, "percentage": percentage, "segments": []}],
    }  # fmt: skip


def _rule(id: str, when: dict[str, Any]) -> dict[str, Any]:
    return {"id": id, "when": when, "serve": {"variant": "on", "split": []}}


def _equals(attribute: str, value: str) -> dict[str, Any]:
    return {"attribute": attribute, "operator": "equals", "value": value}


def _snapshot(flags: list[dict[str, Any]], version: int = 1) -> dict[str, Any]:
    return {
        "schema": 1, "project": "bench", "environment": "production", "version": version,
        "flags": {flag["key"]: flag for flag in flags},
        "segments": {},
    }  # fmt: skip


PLANS = [_rule(f"rule-{n}", _equals(f"attribute-{n}", "yes")) for n in range(10)]
ASKED = [
    _flag("half", release=_release(50)),
    _flag("rule", rules=[PLANS[9]], release=_release(25, "rule-9", "rel_2")),
    _flag("ten", rules=PLANS),
    _flag("many", rules=[_rule("many", {"segment": "many"})]),
]


def _thousand(version: int = 1) -> dict[str, Any]:
    """As many flags as a large company has: plain, with rules, in a release."""
    flags = []
    for number in range(FLAGS):
        rules = [_rule("rule-9", _equals("plan", f"plan-{number}"))] if number % 2 else []
        release = _release(25, None, f"rel_{number}") if number % 10 == 0 else None
        flags.append(_flag(f"flag-{number}", version=version, rules=rules, release=release))
    return _snapshot(flags, version)


def _floor() -> float:
    hash_, salt, key, x = mmh3.hash, "rel_1", USER, 1 << 30
    turns = range(TIMES)
    began = time.perf_counter()
    for _ in turns:
        hash_(f"{salt}:{key}") < x  # noqa: B015 - the floor, which is all there is
    return (time.perf_counter() - began) / TIMES


@benchmark
def questions() -> Iterator[Found]:
    """A question about each kind of flag, with an operation open and its exposure counted."""
    snapshot = _snapshot(ASKED)
    ids = [f"user-{number}" for number in range(10_000)]
    snapshot["segments"]["many"] = {"key": "many", "when": None, "included": ids, "excluded": []}
    client = tidegate.Client.offline(snapshot)
    boolean = client.boolean
    user = tidegate.Context(USER, **{"attribute-9": "yes", "plan": "pro"})

    def asking(key: str) -> Batch:
        def batch() -> float:
            turns = range(TIMES)
            with client.operation(user):
                began = time.perf_counter()
                for _ in turns:
                    boolean(key, False)
                return (time.perf_counter() - began) / TIMES

        return batch

    for name, key, limit in (
        ("50 % rollout", "half", 2.5),
        ("an attribute rule and 25 %", "rule", 3.5),
        ("ten rules, the last matches", "ten", 7.0),
        ("a segment of 10,000 ids", "many", 3.0),
    ):
        yield compare(name, asking(key), FLOOR, _floor, rounds=ROUNDS, limit=limit)
    for name, ask in _peers.installed():
        beside = each(200, ask)
        yield compare("50 % rollout", asking("half"), name, beside, rounds=51, limit=0.5)


@benchmark
def through_openfeature() -> Iterator[Found]:
    """The same question through OpenFeature's client, beside its provider in memory."""
    try:
        from openfeature import api
        from openfeature.evaluation_context import EvaluationContext
        from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider
        from tidegate.integrations.openfeature import TidegateProvider
    except ImportError:
        print("  openfeature-sdk is not installed")
        return
    client = tidegate.Client.offline(_snapshot(ASKED))
    memory = InMemoryProvider({"half": InMemoryFlag("on", {"on": True, "off": False})})
    api.set_provider(TidegateProvider(client), "tidegate")
    api.set_provider(memory, "memory")
    user = EvaluationContext(USER, {"plan": "pro"})
    ours, theirs = api.get_client("tidegate"), api.get_client("memory")

    def asking() -> float:
        with client.operation(tidegate.Context(USER)):
            return each(100, lambda: ours.get_boolean_value("half", False, user))()

    floor = each(100, lambda: theirs.get_boolean_value("half", False, user))
    yield compare("50 % rollout, OpenFeature", asking, "in memory", floor, rounds=201, limit=1.0)


@benchmark
def changes_meanwhile() -> Iterator[Found]:
    """Calls, one each millisecond, while one flag of 1,000 changes, or all of them do."""
    with _serving() as (url, ask):
        client = tidegate.Client(url, "none")
        assert client.wait_until_ready(30)
        for key in range(FLAGS):
            client.boolean(f"flag-{key}", False)
        quiet = _calls(client)
        ask.send("one")
        one = _calls(client)
        ask.send("all")
        gc.collect()
        before = _collected()
        everything = _calls(client)
        gc.collect()
        left = _collected() - before
        status = client.status()
        client.close()
    assert (status.version or 0) > 20, f"nothing changed: {status}"
    yield quiet
    yield Quantiles("a call, one flag changing", one.seconds)
    yield Quantiles("a call, all flags changing", everything.seconds)
    yield _judged("99 %, one flag changing", one.at(99), "99 %, quiet", quiet.at(99), 2.0)
    yield _judged("99 %, all flags changing", everything.at(99), "budget", 0.005)
    yield _judged("objects left to collect", left, "one", 1, 0.0, "objects")


def _calls(client: tidegate.Client) -> Quantiles:
    taken = []
    due = time.perf_counter()
    end = due + ALIVE_SECONDS
    number = 0
    while due < end:
        due += 0.001
        time.sleep(max(0.0, due - time.perf_counter()))
        number = (number + 7) % FLAGS
        key = f"flag-{number}"
        began = time.perf_counter()
        client.boolean(key, False)
        taken.append(time.perf_counter() - began)
    return Quantiles("a call, nothing changing", tuple(taken))


def _collected() -> int:
    return sum(generation["collected"] for generation in gc.get_stats())


@benchmark
def start() -> Iterator[Found]:
    """Import, loading 1,000 flags, memory, and what is installed."""
    yield _judged("import tidegate", median(_imports(15)), "budget", IMPORT_LIMIT)
    body = json.dumps(_thousand())
    yield _judged("1,000 flags loaded", median(_loads(body, 15)), "budget", LOAD_LIMIT)
    gc.collect()
    tracemalloc.start()
    client = tidegate.Client.offline(json.loads(body))
    for number in range(FLAGS):
        client.boolean(f"flag-{number}", False)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    packages = _installed("tidegate")
    files = [path for each in packages.values() for path in each]
    total = sum(path.stat().st_size for path in files)
    with TemporaryDirectory() as folder:
        bytecode = sum(_bytecode(path, folder) for path in files if path.suffix == ".py")
    yield _judged("1,000 flags asked", size, "budget", BYTES_LIMIT, unit="B")
    yield _judged("installed", len(packages), "budget", PACKAGES_LIMIT, unit="packages")
    yield _judged("installed, its files", total, "budget", INSTALLED_LIMIT, unit="B")
    both, budget = total + bytecode, INSTALLED_LIMIT
    yield Ratio("the same with bytecode", "budget", both, budget, both / budget, None, "B")


def _imports(times: int) -> list[float]:
    """The times of an import with bytecode, in a process that has imported nothing else.

    Where bytecode is written and whether at all is not left to who measures, and neither are
    the imports of an editable install: its finder brings a third of what this one needs.
    """
    code = "import time; t = time.perf_counter(); import tidegate; print(time.perf_counter() - t)"
    roots = [str(Path(tidegate.__file__).parents[1]), sysconfig.get_path("platlib")]
    with TemporaryDirectory() as folder:
        environment = {
            **os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": folder,
            "PYTHONPATH": os.pathsep.join(roots),
        }  # fmt: skip
        command = [sys.executable, "-S", "-c", code]
        ask = partial(subprocess.check_output, command, text=True, env=environment)
        ask()  # writes the bytecode
        return [float(ask()) for _ in range(times)]


def _loads(body: str, times: int) -> list[float]:
    """The times of loading a snapshot, in a process that has nothing of the other SDKs."""
    code = (
        "import json, sys, time, tidegate\n"
        "body = sys.stdin.read()\n"
        f"for _ in range({times}):\n"
        "    t = time.perf_counter()\n"
        "    tidegate.Client.offline(json.loads(body))\n"
        "    print(time.perf_counter() - t)"
    )
    said = subprocess.check_output([sys.executable, "-c", code], text=True, input=body)
    return [float(line) for line in said.split()]


def _installed(name: str) -> dict[str, list[Path]]:
    """The files of a package and of what it needs, as an installation has them."""
    found: dict[str, list[Path]] = {}
    waiting = [name]
    while waiting:
        distribution = metadata.distribution(waiting.pop())
        files = [Path(str(distribution.locate_file(file))) for file in distribution.files or ()]
        found[distribution.name] = [path for path in files if path.exists()]
        for need in distribution.requires or ():
            if "extra" not in need:
                needed = need.split(";")[0].strip()
                waiting.append(needed.split("<")[0].split(">")[0].split("=")[0].strip())
    # An editable installation has none of the files that another would have, the server's too.
    folders = (Path(each.__file__ or "").parent for each in (tidegate, tidegate_server))
    found[name] = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {
        each: [path for path in files if path.suffix != ".pyc"] for each, files in found.items()
    }


def _bytecode(path: Path, folder: str) -> int:
    """How many bytes an installer adds for a source file."""
    compiled = py_compile.compile(str(path), str(Path(folder) / "compiled.pyc"), doraise=True)
    return Path(str(compiled)).stat().st_size


def _judged(
    name: str, value: float, floor: str, under: float, limit: float = 1.0, unit: str = ""
) -> Ratio:
    return Ratio(name, floor, value, under, value / under, limit, unit)


# A server in a process of its own, so that its work is not the client's


@contextmanager
def _serving() -> Iterator[tuple[str, Connection]]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there,), daemon=True)
    process.start()
    try:
        yield here.recv(), here
    finally:
        process.terminate()
        process.join()


def _serve(pipe: Connection) -> None:
    state = {"mode": "quiet"}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """Stream snapshots and updates, as the mode is."""
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            version = 1
            self._say("snapshot", version, _thousand(version))
            while True:
                time.sleep(0.05 if state["mode"] != "all" else 0.5)
                if state["mode"] == "one":
                    version += 1
                    flag = _flag(f"flag-{version % FLAGS}", version=version)
                    changed = {"version": version, "flags": {flag["key"]: flag}, "segments": {}}
                    self._say("update", version, changed)
                elif state["mode"] == "all":
                    version += 1
                    self._say("snapshot", version, _thousand(version))

        def do_POST(self) -> None:
            """Take a report."""
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()

        def _say(self, event: str, version: int, document: dict[str, Any]) -> None:
            text = f"id: {version}\nevent: {event}\ndata: {json.dumps(document)}\n\n"
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pipe.send(f"http://127.0.0.1:{server.server_port}")
    while True:
        state["mode"] = pipe.recv()
