"""Calling the command in tests: in this process, as its own process, and with a real server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from tidegate_server.cli.program import cli

PROGRAM = str(Path(sys.executable).with_name("tidegate"))
PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended and what it said."""

    status: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Tidegate:
    """Someone at a shell, with these variables set."""

    variables: Mapping[str, str] = field(default_factory=dict)

    def having(self, **variables: str) -> Tidegate:
        """The same person with other variables; an empty one is as good as none."""
        return replace(self, variables={**self.variables, **variables})

    def run(self, *words: str, stdin: str | None = None) -> Said:
        """Run a command in this process."""
        result = CliRunner().invoke(
            cli, words, input=stdin, env=dict(self.variables), prog_name="tidegate"
        )
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Said(result.exit_code, result.stdout, result.stderr)

    def ok(self, *words: str, stdin: str | None = None) -> str:
        """Run a command that must succeed; returns what it printed."""
        said = self.run(*words, stdin=stdin)
        assert said.status == 0, f"{words} -> {said}"
        return said.out

    def json(self, *words: str) -> Any:
        """Run a command that must succeed; returns what it printed as JSON."""
        return json.loads(self.ok(*words, "--output", "json"))

    def refused(self, *words: str, status: int = 3, stdin: str | None = None) -> str:
        """Run a command that must fail; returns what it says of it."""
        said = self.run(*words, stdin=stdin)
        assert said.status == status, f"{words} -> {said}"
        assert "Traceback" not in said.err
        return said.err

    def process(self, *words: str) -> subprocess.Popen[str]:
        """Start the installed command as a process of its own."""
        return subprocess.Popen(
            [PROGRAM, *words],
            env={**os.environ, **self.variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


def wait_until(what: str, condition: Callable[[], bool]) -> None:
    """Wait for something that will be so."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE:g} seconds"
        time.sleep(0.05)
