"""`tidegate backup` and `tidegate restore-backup` on a running server."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tidegate
import urllib3
from tidegate_server.store.embedded import EmbeddedValkey

from tests.cli.calls import PROGRAM, Tidegate
from tests.cli.conftest import RunningServer
from tests.event_stream_client import Stream
from tests.waiting import until

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(server: RunningServer) -> Run:
    def run(command: str, file: Path, *options: str) -> subprocess.CompletedProcess[str]:
        words = [PROGRAM, command, str(file), "--data-dir", str(server.data_dir), *options]
        return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)

    return run


@pytest.fixture
def sdk_token(admin: Tidegate) -> str:
    scope = ("--project", "default", "--environment", "production")
    return admin.ok("token", "create", "shop", "--role", "sdk", *scope).strip()


@pytest.fixture
def client(server: RunningServer, sdk_token: str) -> Iterator[tidegate.Client]:
    client = tidegate.Client(server.url, sdk_token)
    assert client.wait_until_ready(60)
    yield client
    client.close()


def test_a_restored_server_gives_applications_the_flags_of_the_backup(
    admin: Tidegate, client: tidegate.Client, sdk_token: str, server: RunningServer,
    run: Run, tmp_path: Path,
) -> None:  # fmt: skip
    """Also where the numbers of versions meet those from before the restore."""
    place = ("--project", "default", "--environment", "production")
    for key in ("one", "two"):
        admin.ok("flag", "create", key, "--type", "boolean", "--project", "default")
        admin.ok("flag", "set", key, "--default", "on", *place)
        admin.ok("flag", "disable", key, *place)
    file = tmp_path / "store.backup"
    made = run("backup", file)
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("Backed up ")
    admin.ok("flag", "enable", "one", *place)
    until(lambda: client.boolean("one", False), "the change before the restore")
    seen = Stream(port_of(server), "/sdk/v1/stream", authorized(sdk_token)).next("snapshot")

    refused = run("restore-backup", file)
    assert refused.returncode != 0
    assert "confirm with --yes" in refused.stderr
    assert client.boolean("one", False)

    restored = run("restore-backup", file, "--yes", "--reason", "a wrong edit")
    assert restored.returncode == 0, restored.stderr
    until(lambda: not client.boolean("one", True), "the flags of the backup")
    while True:
        admin.ok("flag", "enable", "two", *place)
        until(lambda: client.boolean("two", False), "a change after the restore")
        known = {"Last-Event-ID": str(seen.version), "Tidegate-Incarnation": "0" * 16}
        stream = Stream(port_of(server), "/sdk/v1/stream", {**authorized(sdk_token), **known})
        event = stream.next("snapshot", "update")
        stream.close()
        assert event.name == "snapshot"
        if event.version >= seen.version:
            break
        admin.ok("flag", "disable", "two", *place)
    assert not client.boolean("one", True)
    entries = admin.json("audit", "--project", "default")
    [entry] = [each for each in entries if each["action"] == "store.restore"]
    assert entry["reason"].startswith("restored by ")
    assert entry["reason"].endswith(": a wrong edit")


def test_a_backup_of_another_secret_key_is_refused(run: Run) -> None:
    other = Path(__file__).parents[1] / "store" / "stored_shape_1.backup"
    refused = run("restore-backup", other, "--yes")
    assert refused.returncode == 2
    assert "belongs to another secret key" in refused.stderr


def test_where_no_server_was_there_is_nothing_to_back_up(run: Run, tmp_path: Path) -> None:
    """The folder of a volume that is not mounted is empty."""
    folder, file = tmp_path / "data", tmp_path / "store.backup"
    folder.mkdir()
    refused = run("backup", file, "--data-dir", str(folder))
    assert (refused.returncode, list(folder.iterdir())) == (2, [])
    assert "There is no store in" in refused.stderr
    unused = EmbeddedValkey(folder)
    unused.start()
    refused = run("backup", file, "--store-url", unused.url)
    unused.stop()
    assert refused.returncode == 2
    assert "No server has used this store. Name with --data-dir" in refused.stderr
    assert not file.exists()


def test_a_backup_can_be_restored_into_a_new_folder(
    server: RunningServer, run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "store.backup"
    assert run("backup", file).returncode == 0
    folder = server.data_dir.parent / "new"
    folder.mkdir()
    (folder / "secret.key").write_bytes((server.data_dir / "secret.key").read_bytes())
    restored = run("restore-backup", file, "--yes", "--data-dir", str(folder))
    assert restored.returncode == 0, restored.stderr
    again = run("backup", tmp_path / "again.backup", "--data-dir", str(folder))
    assert again.returncode == 0, again.stderr


def port_of(server: RunningServer) -> int:
    port = urllib3.util.parse_url(server.url).port
    assert port is not None
    return port


def authorized(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
