"""Logs contain no secrets."""

from __future__ import annotations

import subprocess
import sys

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
