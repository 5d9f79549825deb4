"""The cost of a million uploaded keys: in the web process, and in a process with the SDK."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from tidegate.evaluation.key_sets import KeySet, hashes_content, key_hash
from tidegate_server.admin.bootstrap import bootstrap
from tidegate_server.admin.document_reader import read_project_documents
from tidegate_server.admin.segments.uploads import Upload, upload
from tidegate_server.documents.key_streams import KeyFormat
from tidegate_server.domain.flags import SegmentDefinition
from tidegate_server.domain.key_hashes import Mode
from tidegate_server.domain.segment_edits import put_segment
from tidegate_server.store import Store
from tidegate_server.web.etags import IfMatch

from scripts.bench.measure import Result, benchmark, compare, repeat
from scripts.bench.places import (
    HTTP,
    ROOT,
    TOKEN,
    create_boolean_flag,
    require_success,
    server,
    store,
)

KEYS = 1_000_000
SECRET_KEY = b"a secret key for benchmarks"
LOOK_UP_LIMIT = 40.0
UPLOADS = ((Mode.REPLACE, 0, KEYS - 10), (Mode.ADD, KEYS - 10, KEYS))
SEGMENT_PATH = "/api/v1/projects/default/segments"

APPLICATION = """
import json, os, sys, time
import tidegate

def memory():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))

def report(**values):
    print(json.dumps(values), flush=True)

client = tidegate.Client()
client.wait_until_ready(60)
while client.status().version is None:
    time.sleep(0.01)
report(memory=memory())
for line in sys.stdin:
    key, before = line.strip(), time.process_time()
    while not client.boolean("a", False, key):
        time.sleep(0.001)
    report(memory=memory(), processor=time.process_time() - before)
"""


@benchmark
def upload_keys() -> Iterator[Result]:
    """An upload of a million keys, and of ten more, as a web process makes them; no limits.

    It comes first: the peak of this process only grows.
    """
    with store() as store_url:
        opened = Store.connect(store_url)
        bootstrap(opened, SECRET_KEY, TOKEN)
        documents = read_project_documents(opened, "default")
        segment = SegmentDefinition("vip")
        opened.commit(put_segment(documents, segment, actor="bench", now_ms=opened.now_ms()))
        for mode, first, last in UPLOADS:
            pieces = _pieces(first, last)
            before, began = _peak(), time.process_time()
            upload(
                opened,
                "default",
                "vip",
                pieces,
                Upload("included", mode, KeyFormat.LINES),
                IfMatch(),
                actor="bench",
                reason="",
                secret_key=SECRET_KEY,
            )
            print(
                f"  {mode} {last - first:,} keys: {time.process_time() - began:.2f} s of processor "
                f"time, {_peak() - before:.0f} MB more memory at its peak"
            )
        opened.close()
    yield from ()


@benchmark
def look_up() -> Iterator[Result]:
    """A look-up in a million keys; baseline: a look-up in a Python set of a thousand."""
    content = hashes_content(sorted(key_hash(f"salt:user-{number}") for number in range(KEYS)))
    keys = KeySet(sha256(content).hexdigest(), "salt", content)
    few = frozenset(f"user-{number}" for number in range(1_000))
    yield compare(
        f"a look-up in {KEYS:,} keys",
        repeat(1_000, lambda: keys.has(key_hash("salt:user-4242"))),
        "a look-up in a set",
        repeat(1_000, lambda: "user-424" in few),
        rounds=51,
        limit=LOOK_UP_LIMIT,
    )


@benchmark
def read_keys() -> Iterator[Result]:
    """An application that gets a million keys, and ten more; no limits."""
    with server() as (url, admin):
        require_success(HTTP.request("POST", url + SEGMENT_PATH, json={"key": "vip"}))
        rule = {"id": "vip", "when": {"segment": "vip"}, "serve": {"variant": "on"}}
        create_boolean_flag(url, admin, "a", rules=[rule])
        environment = {**os.environ, "TIDEGATE_URL": url, "TIDEGATE_TOKEN": admin.sdk_token("b")}
        with subprocess.Popen(
            [sys.executable, "-c", APPLICATION],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as application:
            assert application.stdin is not None
            assert application.stdout is not None
            print("  without keys:", application.stdout.readline().strip())
            for mode, first, last in UPLOADS:
                answer = HTTP.request(
                    "POST",
                    f"{url}{SEGMENT_PATH}/vip/keys?mode={mode}",
                    body=b"".join(_pieces(first, last)),
                    headers={**HTTP.headers, "Content-Type": "text/plain"},
                )
                require_success(answer)
                application.stdin.write(_key(last - 1) + "\n")
                application.stdin.flush()
                print(f"  after {mode}:", application.stdout.readline().strip())
            application.stdin.close()
    yield from ()


def _key(number: int) -> str:
    return f"user-{number:08}@example.com"


def _pieces(first: int, last: int) -> list[bytes]:
    """Return the text of an upload, in pieces."""
    step = 2_000
    return [
        "".join(f"{_key(number)}\n" for number in range(at, min(at + step, last))).encode()
        for at in range(first, last, step)
    ]


def _peak() -> float:
    """Return the largest memory of this process so far, in megabytes."""
    with Path("/proc/self/status").open() as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))
