"""Decoders that several threads make at once, in processes that make none otherwise."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROCESSES = 10
"""Without the lock, about four of ten end with a segmentation fault."""

AT_ONCE = """
import sys, threading
from tidegate import seen_users, wire
sys.setswitchinterval(1e-6)
FLAG = {
    "key": "a", "type": "boolean", "version": 1, "salt": "a", "enabled": True,
    "variants": [{"key": "on", "value": True}, {"key": "off", "value": False}],
    "off_variant": "off", "default": {"variant": "on", "split": []},
    "rules": [{
        "id": "pro", "when": {"attribute": "plan", "operator": "equals", "value": "pro"},
        "serve": {"variant": "off", "split": []},
    }],
}
ANSWER = {"secret": "x", "below": 1, "attributes": ["plan"], "key_lists": ["a"]}
start = threading.Barrier(8)
done = []

def work():
    start.wait()
    done.append(READ())

threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert len(done) == 8 and all(each == done[0] for each in done)
"""


@pytest.mark.parametrize("read", ["wire.parse_flag(FLAG)", "seen_users._parse(ANSWER)"])
def test_the_first_values_may_be_read_by_several_threads_at_once(read: str) -> None:
    code = AT_ONCE.replace("READ()", read)
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)
        for _ in range(PROCESSES)
    ]
    said = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * PROCESSES, said
