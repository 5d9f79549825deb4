from __future__ import annotations

import stat
import threading
import zipfile
from pathlib import Path

import pytest
import redis
from tidegate_server.domain.change import Audit
from tidegate_server.errors import StartupRefused
from tidegate_server.store import Store, schema_versions
from tidegate_server.store.backups import MANIFEST, read_backup, restore_backup, write_backup

from tests.store.changes import PRODUCTION, SHOP, change, everything, place, put, refreshed
from tests.waiting import PATIENCE_SECONDS, until

KEY = "0123456789abcdef"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "store.backup"


def commit(store: Store, name: str, number: int) -> None:
    """Make the nth commit of a document, which also changes the snapshot and the audit log."""
    more = refreshed(name).refreshes
    entry = Audit("dana", "number.write", f"{number}")
    document = put(name, number - 1, f"{number}")
    store.commit(change(document, refreshes=more, audit=entry))


def back_up(store: Store, file: Path) -> None:
    write_backup(store, file, KEY)


def restore(store: Store, file: Path) -> None:
    restore_backup(store, file, "dana", "a test")


class TestARestore:
    def test_gives_every_project_what_it_had(
        self, store: Store, raw: redis.Redis, file: Path
    ) -> None:
        for number in (1, 2, 3):
            commit(store, "checkout", number)
        raw.set("tg:{shop}:attempts", 1, ex=1_000)
        before = everything(raw)
        back_up(store, file)
        commit(store, "checkout", 4)
        commit(store, "later", 1)
        raw.delete("tg:{shop}:attempts")
        restore(store, file)
        found = store.get(SHOP, place("checkout"))
        assert found is not None
        assert (found.document.name, found.revision) == ("3", 3)
        assert store.get(SHOP, place("later")) is None
        assert store.version(SHOP, PRODUCTION) == 3
        assert 900 < raw.ttl("tg:{shop}:attempts") <= 1_000
        added = {b"tg:{/server}:audit", b"tg:{/server}:audit-chain", b"tg:{/server}:activity"}
        added |= {b"tg:{/server}:audit-of:server", b"tg:{shop}:audit-of:shop"}
        added |= {b"tg:{/server}:audit-hours:store", b"tg:{shop}:audit-hours:store"}
        assert everything(raw).keys() - before.keys() <= {*added, b"tg:{/server}:value:schema"}

    def test_is_in_the_audit_log_and_continues_its_chain(self, store: Store, file: Path) -> None:
        commit(store, "checkout", 1)
        back_up(store, file)
        commit(store, "checkout", 2)
        restore(store, file)
        entries, _ = store.logs.audit(SHOP, limit=10)
        assert [each.action for each in entries] == ["store.restore", "number.write"]
        commit(store, "checkout", 2)

    def test_removes_projects_that_came_later_and_nothing_of_others(
        self, store: Store, raw: redis.Redis, file: Path
    ) -> None:
        commit(store, "checkout", 1)
        back_up(store, file)
        raw.set("tg:{later}:version:production", 4)
        raw.set("another application", "kept")
        restore(store, file)
        assert not raw.exists("tg:{later}:version:production")
        assert raw.get("another application") == b"kept"

    def test_changes_the_incarnation(self, store: Store, file: Path) -> None:
        commit(store, "checkout", 1)
        before, _ = store.incarnation_and_version(SHOP, PRODUCTION)
        commit(store, "checkout", 2)
        assert store.incarnation_and_version(SHOP, PRODUCTION) == (before, 2)
        back_up(store, file)
        restore(store, file)
        after, version = store.incarnation_and_version(SHOP, PRODUCTION)
        assert version == 2
        assert len(after) == 16
        assert after != before
        assert f'"incarnation":"{after}"'.encode() in store.snapshot(SHOP, PRODUCTION).body

    @pytest.mark.parametrize("changes", [1, 2, 3])
    def test_reaches_subscriptions_whatever_their_version(
        self, store: Store, file: Path, changes: int
    ) -> None:
        """With 2 changes the version is the same as before the restore."""
        commit(store, "checkout", 1)
        back_up(store, file)
        commit(store, "checkout", 2)
        subscription = store.change_feed.subscribe(SHOP, PRODUCTION)
        commit(store, "checkout", 3)
        assert subscription.get(PATIENCE_SECONDS)
        restore(store, file)
        for number in range(2, 2 + changes):
            commit(store, "checkout", number)
        update = subscription.get(PATIENCE_SECONDS)
        assert update is not None
        assert update.data is None


def test_a_backup_is_of_one_moment_while_the_store_is_in_use(
    store: Store, raw: redis.Redis, tmp_path: Path
) -> None:
    stop = threading.Event()
    done = [0, 0]

    def write(writer: int) -> None:
        own = Store.connect(store.url)
        while not stop.is_set():
            commit(own, f"writer-{writer}", done[writer] + 1)
            done[writer] += 1
        own.close()

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(2)]
    for thread in threads:
        thread.start()
    files = [tmp_path / f"{number}" for number in range(5)]
    try:
        for file in files:
            seen = sum(done)
            until(lambda seen=seen: sum(done) > seen + 5, "commits")  # type: ignore[misc]
            back_up(store, file)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    for file in files:
        raw.flushall()
        restore(store, file)
        found = [store.get(SHOP, place(f"writer-{writer}")) for writer in range(2)]
        commits = sum(each.revision for each in found if each is not None)
        entries, _ = store.logs.audit(SHOP, limit=10_000)
        assert commits > 5
        assert store.version(SHOP, PRODUCTION) == commits
        assert len(entries) == commits + 1  # and the restore
        changes = store.changes(SHOP, PRODUCTION, commits - 1)
        assert changes is not None
        assert changes[-1][0] == commits


class TestAFile:
    def test_is_for_its_owner_only_and_is_not_overwritten(self, store: Store, file: Path) -> None:
        back_up(store, file)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        with pytest.raises(StartupRefused, match="exists already"):
            back_up(store, file)
        assert list(file.parent.iterdir()) == [file]

    def test_that_cannot_be_written_is_named(self, store: Store, tmp_path: Path) -> None:
        with pytest.raises(StartupRefused, match=r"nowhere/file cannot be written"):
            back_up(store, tmp_path / "nowhere" / "file")

    @pytest.fixture
    def damaged(self, store: Store, file: Path, request: pytest.FixtureRequest) -> Path:
        commit(store, "checkout", 1)
        back_up(store, file)
        content = bytearray(file.read_bytes())
        match request.param:
            case "cut":
                file.write_bytes(content[:-40])
            case "changed":
                content[200:220] = b"\0" * 20
                file.write_bytes(content)
            case "another":
                file.write_bytes(b"something else")
            case "archive":
                with zipfile.ZipFile(file, "w") as archive:
                    archive.writestr("a", "b")
            case "later":
                with zipfile.ZipFile(file) as archive:
                    text = archive.read(MANIFEST).replace(b'"format":1', b'"format":9')
                with zipfile.ZipFile(file, "w") as archive:
                    archive.writestr(MANIFEST, text)
            case "missing":
                file.unlink()
        return file

    @pytest.mark.parametrize(
        ("damaged", "reason"),
        [
            ("cut", "not all of it is there"),
            ("changed", "is damaged"),
            ("another", "is no backup"),
            ("archive", "is no backup of Tidegate"),
            ("later", "later version of Tidegate"),
            ("missing", "cannot be read: No such file"),
        ],
        indirect=["damaged"],
    )
    def test_that_is_no_whole_backup_changes_nothing(
        self, store: Store, raw: redis.Redis, damaged: Path, reason: str
    ) -> None:
        before = everything(raw)
        with pytest.raises(StartupRefused, match=reason):
            restore(store, damaged)
        assert everything(raw) == before

    def test_says_what_it_has(self, store: Store, file: Path) -> None:
        commit(store, "checkout", 1)
        back_up(store, file)
        backup = read_backup(file)
        assert (backup.projects, backup.key_fingerprint) == ([SHOP], KEY)
        assert backup.schema == schema_versions.stored_version(store)
