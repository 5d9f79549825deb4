"""Running the `tidegate` command in tests, in this process or in another one."""

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
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Result:
    """The exit status and the output of a command."""

    status: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Tidegate:
    """Runs `tidegate` commands with environment variables."""

    variables: Mapping[str, str] = field(default_factory=dict)

    def with_variables(self, **variables: str) -> Tidegate:
        """Return a copy with other variables; an empty one counts as not set."""
        return replace(self, variables={**self.variables, **variables})

    def run(self, *arguments: str, stdin: str | None = None) -> Result:
        """Run a command in this process."""
        result = CliRunner().invoke(
            cli, arguments, input=stdin, env=dict(self.variables), prog_name="tidegate"
        )
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Result(result.exit_code, result.stdout, result.stderr)

    def ok(self, *arguments: str, stdin: str | None = None) -> str:
        """Run a command that must succeed; returns its standard output."""
        result = self.run(*arguments, stdin=stdin)
        assert result.status == 0, f"{arguments} -> {result}"
        return result.out

    def json(self, *arguments: str, stdin: str | None = None) -> Any:
        """Run a command that must succeed; returns its JSON output."""
        return json.loads(self.ok(*arguments, "--output", "json", stdin=stdin))

    def refused(self, *arguments: str, status: int = 3, stdin: str | None = None) -> str:
        """Run a command that must fail with ``status``; returns its standard error."""
        result = self.run(*arguments, stdin=stdin)
        assert result.status == status, f"{arguments} -> {result}"
        assert "Traceback" not in result.err
        return result.err

    def process(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the installed command as its own process."""
        return subprocess.Popen(
            [PROGRAM, *arguments],
            env={**os.environ, **self.variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


def wait_until(what: str, condition: Callable[[], bool]) -> None:
    """Wait for a condition, and fail after ``PATIENCE`` seconds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE:g} seconds"
        time.sleep(0.05)
