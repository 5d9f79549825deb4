"""What importing the SDK imports, and a fork during a late import."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tidegate.runtime.late_imports import load

from tests.child_processes import PYTHON_THAT_FORKS


def run(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [*PYTHON_THAT_FORKS, "-c", program, *arguments],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout


def loaded_after(code: str) -> set[str]:
    return set(run(f"import sys\n{code}\nprint(*sys.modules)").split())


def test_importing_the_package_imports_no_working_module() -> None:
    loaded = loaded_after("import tidegate")
    heavy = {"urllib3", "ssl", "re2", "socket", "json", "hashlib", "asyncio", "email"}
    heavy |= {"dataclasses", "inspect"}
    inner = {
        f"tidegate.{name}" for name in ("evaluation", "reporting", "sync", "transport", "wire")
    }
    assert loaded & (heavy | inner) == set()


def test_an_offline_client_imports_no_network_module() -> None:
    loaded = loaded_after(
        "import logging, tidegate\n"
        "logging.getLogger('tidegate').setLevel('ERROR')  # the flag is unknown\n"
        "tidegate.Client.offline({'schema': 1, 'project': 'p', 'environment': 'e',"
        " 'version': 1, 'flags': {}, 'segments': {}}).boolean('a', False)"
    )
    assert "tidegate.evaluation.compiled_snapshot" in loaded
    assert loaded & {"urllib3", "ssl", "re2", "tidegate.transport"} == set()


def test_a_first_evaluation_imports_no_module_that_takes_long() -> None:
    flag = {
        "key": "a", "type": "boolean", "version": 1, "salt": "a", "enabled": True,
        "variants": [{"key": "on", "value": True}, {"key": "off", "value": False}],
        "off_variant": "off", "default": {"variant": "on", "split": []},
        "rules": [{
            "id": "pro", "when": {"attribute": "plan", "operator": "equals", "value": "pro"},
            "serve": {"variant": "off", "split": []},
        }],
    }  # fmt: skip
    parts = {"flags": {"a": flag}, "segments": {}}
    snapshot = {"schema": 1, "project": "p", "environment": "e", "version": 1, **parts}
    loaded = loaded_after(
        "import tidegate\n"
        f"client = tidegate.Client.offline({json.dumps(snapshot)!r})\n"
        "assert client.boolean('a', False) is True"
    )
    assert "tidegate.evaluation.flag_compiler" in loaded
    assert loaded & {"dataclasses", "json"} == set()


def test_load_returns_the_module() -> None:
    assert load("json") is json


FORKED = """
import os, sys, threading, time
sys.path.insert(0, sys.argv[1])
from tidegate.runtime.late_imports import load

thread = threading.Thread(target=load, args=("slow_to_import",))
thread.start()
import builtins
while not getattr(builtins, "begun", False):
    time.sleep(0.001)
child = os.fork()
if child == 0:
    print(load("slow_to_import").VALUE, flush=True)
    os._exit(0)
_, status = os.waitpid(child, 0)
thread.join()
print(os.waitstatus_to_exitcode(status))
"""

SLOW = """
import builtins, time
builtins.begun = True
time.sleep(0.2)
VALUE = "loaded"
"""


def test_a_child_forked_during_an_import_can_import(tmp_path: Path) -> None:
    """Otherwise it would wait forever for a lock of a thread that does not exist there."""
    (tmp_path / "slow_to_import.py").write_text(SLOW)
    assert run(FORKED, str(tmp_path)).split() == ["loaded", "0"]
