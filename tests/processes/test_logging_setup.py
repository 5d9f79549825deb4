"""Logs contain no secrets, and their events have names of one form."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys, structlog
from tidegate_server.processes import logging_setup
logging_setup.configure("info", sys.argv[1])

def fail(secret_key):
    raise ValueError("on purpose")

try:
    fail("the " + "key of all keys")
except ValueError:
    structlog.get_logger("tidegate.test").exception("it failed", place="here")
"""


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_traceback_shows_no_local_variables(log_format: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, log_format], check=True, capture_output=True, text=True
    )
    assert "ValueError: on purpose" in ran.stderr
    assert "in fail" in ran.stderr
    assert "key of all keys" not in ran.stderr


def test_events_are_named_in_one_form() -> None:
    events = [
        call.args[0].value
        for path in (Path(__file__).parents[2] / "server").rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in ("debug", "info", "warning", "error", "exception")
        and ast.unparse(call.func.value) in ("log", "self._log")
        and isinstance(call.args[0], ast.Constant)
    ]
    assert len(events) > 30
    assert [each for each in events if not re.fullmatch("[a-z]+(_[a-z]+)*", str(each))] == []
