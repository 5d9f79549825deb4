"""Upgrades of what is stored, from data that an earlier version of Tidegate has stored."""

from __future__ import annotations

import zipfile
from pathlib import Path

import msgspec
import pytest
import redis
from tidegate_server.domain.change import Address
from tidegate_server.domain.kinds import Kind
from tidegate_server.errors import StartupRefused
from tidegate_server.store import Store, keys, schema_versions
from tidegate_server.store.backups import read_backup, restore_backup

from tests.store.changes import everything

SHAPE_1 = Path(__file__).with_name("stored_shape_1.backup")
"""Made by Tidegate before incarnations: the projects ``default`` and ``blog``."""


@pytest.fixture
def earlier(store: Store, raw: redis.Redis) -> Store:
    """A store with the data of an earlier version, as that version left it."""
    with zipfile.ZipFile(SHAPE_1) as archive:
        for scope in read_backup(SHAPE_1).scopes:
            for name, _, dump in msgspec.msgpack.decode(archive.read(scope.entry)):
                raw.restore(name, 0, dump)
    return store


def incarnations(store: Store) -> list[str]:
    return [
        store.incarnation_and_version(project, environment)[0]
        for project, environment in (("default", "production"), ("blog", "live"))
    ]


def test_an_earlier_store_is_upgraded_in_place_and_loses_nothing(
    earlier: Store, raw: redis.Redis
) -> None:
    before = everything(raw)
    hashes = {
        keys.audit_chain(scope).encode(): raw.hget(keys.audit_chain(scope), "hash")
        for scope in ("", "default", "blog")
    }
    assert incarnations(earlier) == ["", ""]
    assert schema_versions.upgrade(earlier) == 1
    assert schema_versions.stored_version(earlier) == schema_versions.CURRENT
    chains = {keys.audit_chain(scope).encode() for scope in ("", "default", "blog")}
    kept = {name: dump for name, dump in before.items() if name not in chains}
    assert kept.items() <= everything(raw).items()
    assert {name: raw.hget(name, "hash") for name in chains} == hashes
    first, second = incarnations(earlier)
    assert len(first) == len(second) == 16
    assert first != second
    assert earlier.version("default", "production") == 5
    flag = earlier.get("default", Address(Kind.FLAG, "theme"))
    assert flag is not None
    assert [each.key for each in flag.document.variants] == ["light", "dark"]
    assert b'"killed":' in earlier.snapshot("default", "production").body


def test_an_upgrade_that_was_made_is_not_made_again(earlier: Store, raw: redis.Redis) -> None:
    schema_versions.upgrade(earlier)
    before = everything(raw)
    assert schema_versions.upgrade(earlier) == schema_versions.CURRENT
    assert everything(raw) == before


def test_an_empty_store_has_the_present_shape_from_the_start(store: Store) -> None:
    assert schema_versions.upgrade(store) == schema_versions.CURRENT
    assert store.get_server_value(schema_versions.NAME) == str(schema_versions.CURRENT)


def test_an_upgrade_that_was_interrupted_is_completed(earlier: Store) -> None:
    earlier.put_incarnation_once("default", "0123456789abcdef")
    schema_versions.upgrade(earlier)
    default, blog = incarnations(earlier)
    assert default == "0123456789abcdef"
    assert blog


def test_an_earlier_backup_is_upgraded_when_it_is_restored(store: Store) -> None:
    restore_backup(store, SHAPE_1, "dana", "")
    assert schema_versions.stored_version(store) == schema_versions.CURRENT
    assert all(incarnations(store))


def test_a_store_of_a_later_version_is_refused(store: Store) -> None:
    store.put_server_value(schema_versions.NAME, "99")
    for refuse in (schema_versions.check, schema_versions.upgrade):
        with pytest.raises(StartupRefused, match="the shape 99 of a later version"):
            refuse(store)
