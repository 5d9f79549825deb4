"""What the SDK costs an application: evaluations, updates, import time, memory and files."""

from __future__ import annotations

import atexit
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import tidegate
import tidegate_server

from scripts.bench import _peers
from scripts.bench._flags import (
    COLOURS,
    HASH_BASELINE,
    USER,
    equals,
    evaluations,
    flag,
    hash_baseline,
    in_operation,
    release,
    rule,
    snapshot,
    string_flag,
)
from scripts.bench.measure import (
    Batch,
    Quantiles,
    Result,
    benchmark,
    compare,
    compare_values,
    repeat,
)

ROUNDS = 301
FLAGS = 1_000
LOAD_LIMIT = 0.012
IMPORT_LIMIT = 0.028
START_LIMIT = 0.040
DURING_SNAPSHOTS_LIMIT = 0.003
BYTES_LIMIT = 3_500_000
PACKAGES_LIMIT = 6
SDK_FILES_LIMIT = 4_000_000
CALLS_SECONDS = 4.0
OPERATION_LIMIT = 18.0
THREADS_LIMIT = 1 / 0.95
THREADS_SECONDS = 0.4

ONE_ATTRIBUTE = [rule(f"rule-{n}", equals("plan", f"plan-{n}"), COLOURS[n % 3]) for n in range(10)]
TEN_ATTRIBUTES = [
    rule(f"rule-{n}", equals(f"attribute-{n}", "yes"), COLOURS[n % 3]) for n in range(10)
]
EVALUATED = [
    flag("half", release=release(50)),
    flag(
        "rule", rules=[rule("pro", equals("plan", "plan-9"))], release=release(25, "pro", "rel_2")
    ),
    string_flag("one attribute", rules=ONE_ATTRIBUTE),
    string_flag("ten attributes", rules=TEN_ATTRIBUTES),
    flag("many", rules=[rule("many", {"segment": "many"})]),
]


def _large_snapshot(version: int = 1) -> dict[str, Any]:
    """Return as many flags as a large company has: three variants, three rules, a split."""
    return snapshot([_large_flag(number, version) for number in range(FLAGS)], version)


def _large_flag(number: int, version: int) -> dict[str, Any]:
    rules = [rule(f"rule-{n}", equals("plan", f"plan-{n}"), COLOURS[n]) for n in range(3)]
    running = None
    if number % 10 == 0:
        running = release(25, "rule-1", f"rel_{number}") | {"control": "blue", "treatment": "red"}
    return string_flag(f"flag-{number}", version=version, rules=rules, release=running)


@benchmark
def kinds_of_flags() -> Iterator[Result]:
    """Evaluations of each kind of flag in an open operation, their exposures counted."""
    document = snapshot(EVALUATED)
    ids = [f"user-{number}" for number in range(10_000)]
    document["segments"]["many"] = {"key": "many", "when": None, "included": ids, "excluded": []}
    client = tidegate.Client.offline(document)
    user = tidegate.Context(USER, **{"attribute-9": "yes", "plan": "plan-9"})

    def batch(key: str, default: bool | str = False) -> Batch:
        return in_operation(client, user, evaluations(client, key, default))

    for name, key, default, limit in (
        ("50 % rollout", "half", False, 2.5),
        ("an attribute rule and 25 %", "rule", False, 3.5),
        ("ten rules on one attribute, the last matches", "one attribute", "", 4.0),
        ("ten rules on ten attributes, the last matches", "ten attributes", "", 6.0),
        ("a segment of 10,000 ids", "many", False, 3.0),
    ):
        measured = batch(key, default)
        yield compare(name, measured, HASH_BASELINE, hash_baseline, rounds=ROUNDS, limit=limit)
    for peer in _peers.installed_peers(_peers.HALF):
        baseline = repeat(200, peer.evaluate)
        yield compare("50 % rollout", batch("half"), peer.name, baseline, rounds=51, limit=0.5)
    for peer in _peers.installed_peers(_peers.TEN_RULES):
        baseline = repeat(200, peer.evaluate)
        ten = batch("one attribute", "")
        yield compare("ten rules on one attribute", ten, peer.name, baseline, rounds=51, limit=1.0)


@benchmark
def counting() -> Iterator[Result]:
    """What it costs to count: exposures outside of operations, and whole operations."""
    client = tidegate.Client.offline(snapshot(EVALUATED))
    user = tidegate.Context(USER)
    boolean, operation = client.boolean, client.operation
    boolean("half", False, user)

    def outside() -> None:
        boolean("half", False, user)

    def in_an_operation() -> None:
        with operation(user):
            boolean("half", False)

    for name, call, limit in (
        ("50 % rollout outside of operations", outside, 3.5),
        ("an operation with one 50 % rollout", in_an_operation, OPERATION_LIMIT),
    ):
        batch = repeat(200, call)
        yield compare(name, batch, HASH_BASELINE, hash_baseline, rounds=ROUNDS, limit=limit)
    for name, call in (
        ("a call outside of operations, 4 threads", outside),
        ("an operation, 4 threads", in_an_operation),
    ):
        pairs = [(_seconds_per_call(call, 4), _seconds_per_call(call, 1)) for _ in range(9)]
        four, one = min(pairs, key=lambda pair: pair[0])[0], min(pair[1] for pair in pairs)
        yield compare_values(name, four, "1 thread", one, THREADS_LIMIT)


def _seconds_per_call(call: Callable[[], None], threads: int) -> float:
    """Return how long each call takes while this many threads call, all of them together."""
    calls = [0] * threads
    stop = threading.Event()
    begin = threading.Barrier(threads + 1)

    def work(number: int) -> None:
        begin.wait()
        while not stop.is_set():
            for _ in range(200):
                call()
            calls[number] += 200

    working = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for thread in working:
        thread.start()
    begin.wait()
    began = time.perf_counter()
    time.sleep(THREADS_SECONDS)
    stop.set()
    for thread in working:
        thread.join()
    return (time.perf_counter() - began) / sum(calls)


@benchmark
def through_openfeature() -> Iterator[Result]:
    """The 50 % rollout through OpenFeature's client; baseline: its in-memory provider."""
    try:
        from openfeature import api
        from openfeature.evaluation_context import EvaluationContext
        from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider
        from tidegate.integrations.openfeature import TidegateProvider
    except ImportError:
        print("  openfeature-sdk is not installed")
        return
    client = tidegate.Client.offline(snapshot(EVALUATED))
    in_memory = InMemoryProvider({"half": InMemoryFlag("on", {"on": True, "off": False})})
    api.set_provider(TidegateProvider(client), "tidegate")
    api.set_provider(in_memory, "memory")
    user = EvaluationContext(USER, {"plan": "pro"})

    def batch(domain: str) -> Batch:
        openfeature = api.get_client(domain)
        return repeat(100, lambda: openfeature.get_boolean_value("half", False, user))

    tidegate_batch = in_operation(client, tidegate.Context(USER), batch("tidegate"))
    yield compare(
        "50 % rollout, OpenFeature",
        tidegate_batch,
        "in-memory provider",
        batch("memory"),
        rounds=201,
        limit=1.0,
    )


@benchmark
def during_updates() -> Iterator[Result]:
    """Evaluations, one each millisecond, while one flag of 1,000 changes, or all change."""
    with _flag_server() as (url, pipe):
        client = tidegate.Client(url, "none")
        assert client.wait_until_ready(30)
        for number in range(FLAGS):
            client.string(f"flag-{number}", "")
        quiet = _calls(client, "a call, nothing changing")
        pipe.send("one")
        one = _calls(client, "a call, one flag changing")
        pipe.send("all")
        gc.collect()
        collected_before = _objects_collected()
        everything = _calls(client, "a call, all flags changing")
        gc.collect()
        garbage = _objects_collected() - collected_before
        status = client.status()
        client.close()
    assert (status.version or 0) > 20, f"nothing changed: {status}"
    yield from (quiet, one, everything)
    yield compare_values(
        "99 %, one flag changing", one.at(99), "99 %, nothing changing", quiet.at(99), 2.0
    )
    yield compare_values(
        "99 %, all flags changing", everything.at(99), "budget", DURING_SNAPSHOTS_LIMIT
    )
    yield compare_values("objects left to collect", garbage, "one", 1, 0.0, "objects")


def _calls(client: tidegate.Client, name: str) -> Quantiles:
    """Call once each millisecond; return the times from when a call was due until its end.

    So a call that cannot begin because an update holds the interpreter counts as a slow one.
    """
    seconds = []
    due = time.perf_counter()
    end = due + CALLS_SECONDS
    number = 0
    while due < end:
        due += 0.001
        time.sleep(max(0.0, due - time.perf_counter()))
        number = (number + 7) % FLAGS
        key = f"flag-{number}"
        client.string(key, "")
        seconds.append(time.perf_counter() - due)
    return Quantiles(name, tuple(seconds))


def _objects_collected() -> int:
    return sum(generation["collected"] for generation in gc.get_stats())


@benchmark
def start() -> Iterator[Result]:
    """Import, loading 1,000 flags, the first evaluation, memory, and the installed files."""
    body = json.dumps(_large_snapshot())
    times = [_start_times(body) for _ in range(15)]
    imported, loaded, first, rest = (median(column) for column in zip(*times, strict=True))
    yield compare_values("import tidegate", imported, "budget", IMPORT_LIMIT)
    yield compare_values("1,000 flags loaded", loaded, "budget", LOAD_LIMIT)
    yield compare_values(
        "import, 1,000 flags loaded, first evaluation", first, "budget", START_LIMIT
    )
    yield compare_values("the first evaluation of each of 1,000", rest, "budget", LOAD_LIMIT, None)
    memory, evaluated = _memory(body)
    yield compare_values("memory of 1,000 flags", memory, "budget", BYTES_LIMIT, unit="B")
    yield compare_values(
        "memory of 1,000 flags, each evaluated", evaluated, "budget", BYTES_LIMIT, unit="B"
    )
    for peer in _peers.installed_loaders(FLAGS):
        name = f"1,000 flags loaded by {peer.name}"
        yield compare_values(name, median(peer.load() for _ in range(9)), "Tidegate", loaded, None)
    packages = _installed_files("tidegate")
    files = [path for paths in packages.values() for path in paths]
    server = Path(tidegate_server.__file__).parent
    sdk_size = sum(path.stat().st_size for path in files if server not in path.parents)
    size = sum(path.stat().st_size for path in files)
    with TemporaryDirectory() as folder:
        bytecode = sum(_bytecode_size(path, folder) for path in files if path.suffix == ".py")
    yield compare_values("installed", len(packages), "budget", PACKAGES_LIMIT, unit="packages")
    yield compare_values(
        "files of the SDK and its packages", sdk_size, "budget", SDK_FILES_LIMIT, unit="B"
    )
    for name, value in (
        ("with the server's files", size),
        ("with the server's files and bytecode", size + bytecode),
    ):
        yield compare_values(name, value, "budget", SDK_FILES_LIMIT, None, "B")


def _memory(body: str) -> tuple[int, int]:
    """Return the bytes that 1,000 flags take after loading, and after evaluating each once."""
    tidegate.Client.offline(body)  # imports what loading needs, which is not counted
    gc.collect()
    tracemalloc.start()
    client = tidegate.Client.offline(body)
    gc.collect()
    loaded, _ = tracemalloc.get_traced_memory()
    for number in range(FLAGS):
        client.string(f"flag-{number}", "")
    gc.collect()
    evaluated, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return loaded, evaluated


START = """
import sys, time
body = sys.stdin.read()
began = time.process_time()
import tidegate
imported = time.process_time()
client = tidegate.Client.offline(body)
client.string("flag-0", "")
first = time.process_time()
for number in range(1000):
    client.string(f"flag-{number}", "")
rest = time.process_time()
loads = []
for _ in range(5):
    at = time.process_time()
    tidegate.Client.offline(body)
    loads.append(time.process_time() - at)
print(imported - began, sorted(loads)[2], first - began, rest - first)
"""


def _start_times(body: str) -> tuple[float, ...]:
    """Return the CPU times of an import, of loading, of all until the first value, and the rest.

    They are those of a process that has imported nothing else, with bytecode: the environment
    variables that control it are set here. Site packages are not processed, because the finder
    of an editable installation imports a third of the modules that this import needs.
    """
    roots = [str(Path(tidegate.__file__).parents[1]), _required_packages()]
    environment = {
        **os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": _bytecode_folder(),
        "PYTHONPATH": os.pathsep.join(roots),
    }  # fmt: skip
    command = [sys.executable, "-S", "-c", START]
    output = subprocess.check_output(command, text=True, env=environment, input=body)
    return tuple(float(seconds) for seconds in output.split())


@cache
def _required_packages() -> str:
    """Return a folder with the packages that the SDK requires, and no other.

    Where tools for development bring typing_extensions, msgspec imports it, and ``inspect`` too.
    """
    folder = TemporaryDirectory()
    atexit.register(folder.cleanup)
    site = Path(sysconfig.get_path("platlib"))
    for package, paths in _installed_files("tidegate").items():
        if package != "tidegate":
            for name in {path.relative_to(site).parts[0] for path in paths if site in path.parents}:
                (Path(folder.name) / name).symlink_to(site / name)
    return folder.name


@cache
def _bytecode_folder() -> str:
    folder = TemporaryDirectory()
    atexit.register(folder.cleanup)
    return folder.name


def _installed_files(name: str) -> dict[str, list[Path]]:
    """Return the files of a package and of each package that it requires, without bytecode."""
    packages: dict[str, list[Path]] = {}
    queue = [name]
    while queue:
        distribution = metadata.distribution(queue.pop())
        files = [Path(str(distribution.locate_file(file))) for file in distribution.files or ()]
        packages[distribution.name] = [path for path in files if path.exists()]
        for requirement in distribution.requires or ():
            if "extra" not in requirement:
                specifier = requirement.split(";")[0].strip()
                queue.append(specifier.split("<")[0].split(">")[0].split("=")[0].strip())
    # An editable installation does not list the files of Tidegate, which include the server's.
    folders = (Path(package.__file__ or "").parent for package in (tidegate, tidegate_server))
    packages[name] = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {
        package: [path for path in files if path.suffix != ".pyc"]
        for package, files in packages.items()
    }


def _bytecode_size(path: Path, folder: str) -> int:
    """Return the size of the bytecode that an installer adds for a source file."""
    compiled = py_compile.compile(str(path), str(Path(folder) / "compiled.pyc"), doraise=True)
    return Path(str(compiled)).stat().st_size


@contextmanager
def _flag_server() -> Iterator[tuple[str, Connection]]:
    """Run a server in another process; yield its URL and a pipe for what changes: one or all."""
    context = multiprocessing.get_context("spawn")
    pipe, child_pipe = context.Pipe()
    process = context.Process(target=_serve, args=(child_pipe,), daemon=True)
    process.start()
    try:
        yield pipe.recv(), pipe
    finally:
        process.terminate()
        process.join()


def _serve(pipe: Connection) -> None:
    changing = "nothing"

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """Stream a snapshot, then whatever is changing."""
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            version = 1
            self._send_event("snapshot", version, _large_snapshot(version))
            while True:
                time.sleep(0.05 if changing != "all" else 0.5)
                if changing == "one":
                    version += 1
                    changed = _large_flag(version % FLAGS, version)
                    flags = {changed["key"]: changed}
                    update = {"version": version, "flags": flags, "segments": {}}
                    self._send_event("update", version, update)
                elif changing == "all":
                    version += 1
                    self._send_event("snapshot", version, _large_snapshot(version))

        def do_POST(self) -> None:
            """Accept a report."""
            self.rfile.read(int(self.headers["Content-Length"]))
            receipt = b'{"version": 1}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(receipt)))
            self.end_headers()
            self.wfile.write(receipt)

        def _send_event(self, event: str, version: int, document: dict[str, Any]) -> None:
            text = f"id: {version}\nevent: {event}\ndata: {json.dumps(document)}\n\n"
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            """Do not log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pipe.send(f"http://127.0.0.1:{server.server_port}")
    while True:
        changing = pipe.recv()
