"""What is logged can be read by those who must not know what is secret."""

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


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_shows_where_and_not_with_what(form: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, form], check=True, capture_output=True, text=True
    )
    assert "ValueError: on purpose" in ran.stderr
    assert "in fail" in ran.stderr
    assert "key of all keys" not in ran.stderr
