"""Which seen users of reports are written to the sample of their environment."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from tidegate_server.domain.seen_users import SeenUser
from tidegate_server.sdk_api import wanted_users
from tidegate_server.sdk_api.wanted_users import SeenUserReports
from tidegate_server.store import Store

from tests.http_application import SECRET_KEY
from tests.http_calls import PROJECT, Caller

PLACE = ("default", "production")


class Reports(SeenUserReports):
    """Takes reports from one web process of a store."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, SECRET_KEY)

    def name(self, number: int, **attributes: Any) -> Any:
        """Take a report that names a user."""
        return self.take(*PLACE, (SeenUser(f"{number:016x}", attributes),))


@pytest.fixture
def reports(app: Flask, admin: Caller, store: Store) -> Reports:
    when = {"attribute": "plan", "operator": "equals", "value": "pro"}
    admin.post_ok(f"{PROJECT}/segments", {"key": "paying", "when": when})
    return Reports(store)


def written(store: Store) -> dict[int, Any]:
    """Return what was written since the last call."""
    users = store.seen_users.sample(*PLACE).users
    store.seen_users.forget(*PLACE)
    return {int(user.name, 16): user.attributes for user in users}


def test_a_user_whom_many_instances_name_is_written_once(reports: Reports, store: Store) -> None:
    for _ in range(3):
        reports.name(1, plan="pro", email="not asked for")
    assert written(store) == {1: {"plan": "pro"}}
    reports.name(1, plan="pro", email="not asked for")
    reports.name(2, plan="free")
    assert written(store) == {2: {"plan": "free"}}


def test_a_user_is_written_again_with_other_attributes_and_after_a_while(
    reports: Reports, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports.name(1, plan="free")
    assert written(store) == {1: {"plan": "free"}}
    reports.name(1, plan="free")
    assert written(store) == {}
    monkeypatch.setattr(wanted_users, "AGAIN_SECONDS", -1.0)
    reports.name(1, plan="pro")
    assert written(store) == {1: {"plan": "pro"}}
    reports.name(1, plan="pro")
    assert written(store) == {1: {"plan": "pro"}}


def test_a_user_is_written_again_when_more_attributes_are_compared(
    reports: Reports, admin: Caller, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wanted_users, "FRESH_SECONDS", -1.0)
    reports.name(1, plan="pro", country="DE")
    assert written(store) == {1: {"plan": "pro"}}
    when = {"attribute": "country", "operator": "equals", "value": "DE"}
    admin.post_ok(f"{PROJECT}/segments", {"key": "german", "when": when})
    reports.name(1, plan="pro", country="DE")
    assert written(store) == {1: {"plan": "pro", "country": "DE"}}


def test_a_user_is_written_again_after_the_sample_was_switched_off_and_on(
    reports: Reports, admin: Caller, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wanted_users, "FRESH_SECONDS", -1.0)
    production = f"{PROJECT}/environments/production"
    reports.name(1, plan="pro")
    for is_on in (False, True):
        settings = {"name": "Production", "report_seen_users": is_on}
        assert admin.put(production, settings, match="*").status_code == 200
        reports.name(1, plan="pro")
    assert written(store) == {1: {"plan": "pro"}}


def test_a_user_beyond_the_limit_is_not_written(reports: Reports, store: Store) -> None:
    limit = store.seen_users.limit(*PLACE)
    reports.take(*PLACE, (SeenUser("f" * 16, {}), SeenUser(f"{limit - 1:08x}{0:08x}", {})))
    assert len(written(store)) == 2
    reports._asked.clear()
    store.seen_users.add(*PLACE, [SeenUser(f"{number:08x}{0:08x}", {}) for number in range(1_001)])
    assert store.seen_users.limit(*PLACE) == 1_000
    before = reports.name(1_000 << 32)
    assert before is not None
    assert before.below == 1_000
    assert 1_000 << 32 not in written(store)


def test_what_was_written_is_bounded(
    reports: Reports, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wanted_users, "MOST_WRITTEN", 10)
    for number in range(100):
        reports.name(number)
        assert len(reports._written) <= 11
