"""`tidegate admin recover`: a new admin token from the data folder or the store."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.calls import PROGRAM, Tidegate
from tests.cli.conftest import RunningServer


def recover(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, "admin", "recover", *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_lost_admin_token_is_replaced_while_the_server_runs(
    server: RunningServer, admin: Tidegate
) -> None:
    found = recover("--data-dir", str(server.data_dir))
    assert found.returncode == 0, found.stderr
    token = found.stdout.strip()
    assert found.stdout.count("\n") == 1
    recovered = Tidegate({"TIDEGATE_URL": server.url, "TIDEGATE_TOKEN": token})
    assert recovered.ok("project", "list")
    names = [each["name"] for each in recovered.json("token", "list")]
    assert "recovered admin" in names
    assert "first admin" in names
    entries = recovered.json("audit", "--server")
    [entry] = [each for each in entries if each["reason"].startswith("recovered by ")]
    assert entry["action"] == "token.create"
    assert token.rpartition("_")[2] not in str(entries)


def test_it_works_while_no_server_runs_too(server: RunningServer, tmp_path: Path) -> None:
    folder, file = server.data_dir.parent / "stopped", tmp_path / "store.backup"
    folder.mkdir()
    shutil.copy(server.data_dir / "secret.key", folder)
    for words in (
        ("backup", str(file), "--data-dir", str(server.data_dir)),
        ("restore-backup", str(file), "--yes", "--data-dir", str(folder)),
    ):
        subprocess.run([PROGRAM, *words], check=True, capture_output=True)
    first, second = (recover("--data-dir", str(folder)) for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert first.stdout != second.stdout


def test_where_no_server_was_there_is_nothing_to_recover(tmp_path: Path) -> None:
    (tmp_path / "secret.key").write_text("0123456789abcdef0123456789abcdef")
    found = recover("--data-dir", str(tmp_path))
    assert found.returncode != 0
    assert f"There is no store in {tmp_path}" in found.stderr


@pytest.mark.parametrize("options", [(), ("--secret-key", "0123456789abcdef")])
def test_a_folder_that_is_not_there_is_not_created(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    missing = tmp_path / "nowhere"
    found = recover("--data-dir", str(missing), *options)
    assert found.returncode != 0
    assert f"There is no data folder {missing}" in found.stderr
    assert not missing.exists()


def test_another_secret_key_is_refused(server: RunningServer) -> None:
    found = recover("--data-dir", str(server.data_dir), "--secret-key", "not-the-key-0123456789")
    assert found.returncode != 0
    assert "another secret key" in found.stderr
    assert found.stdout == ""
