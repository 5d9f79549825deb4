"""Environments and projects are deleted with all that belongs to them, and nothing comes back."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import pytest
import redis
from tidegate_server.admin.bootstrap import bootstrap
from tidegate_server.domain.deletions import Deletion
from tidegate_server.domain.kinds import Kind
from tidegate_server.errors import NotFound
from tidegate_server.policy_job.loop import PolicyJob
from tidegate_server.store import Store, keys, removal
from tidegate_server.store.reports import FlagEvaluations, Report

from tests.admin.guarded import another_person, approve, proposed, protect
from tests.http_application import ADMIN_TOKEN, SECRET_KEY
from tests.http_calls import PRODUCTION, PROJECT, Caller, slug

PROJECTS = "/api/v1/projects"


def report(instance: str = "a" * 32, sequence: int = 1) -> Report:
    evaluations = (FlagEvaluations("checkout", (("on", 3),)),)
    return Report(instance, sequence, False, 1, 10.0, "test/1", "web-1", 1, evaluations=evaluations)


def use(store: Store, **changes: Any) -> None:
    """Let an application use production."""
    store.evidence.add_report("default", "production", report(**changes))


def delete(caller: Caller, path: str, query: str = "") -> Any:
    return caller.delete(f"{path}{query}", match="*")


def of_production(raw: redis.Redis) -> list[str]:
    names = [name.decode() for name in raw.scan_iter("tg:{default}:*")]
    return [name for name in names if keys.is_of_environment("default", name, "production")]


def remaining(raw: redis.Redis) -> list[str]:
    """Return the keys of production that should not be there after its deletion."""
    return [name for name in of_production(raw) if not keys.stays_after_deletion("default", name)]


def ended_release(checkout: Caller) -> None:
    body = {"flag": "checkout", "treatment": "on", "policy": "careful"}
    started = checkout.post_ok(f"{PRODUCTION}/releases", body)
    checkout.post_ok(f"{PRODUCTION}/releases/{started['id']}/rollback", {})


def test_an_unused_environment_is_deleted_with_all_that_belongs_to_it(
    checkout: Caller, sdk: Caller, raw: redis.Redis
) -> None:
    ended_release(checkout)
    assert remaining(raw)
    assert delete(checkout, PRODUCTION).status_code == 204
    assert remaining(raw) == []
    assert checkout.get(PRODUCTION).status_code == 404
    assert checkout.get(f"{PRODUCTION}/flags/checkout").status_code == 404
    assert checkout.get(f"{PROJECT}/flags/checkout").status_code == 200
    assert checkout.get(f"{PROJECT}/environments/development/flags/checkout").status_code == 200
    audit = checkout.get(f"{PROJECT}/audit?action=environment.delete").json
    assert audit is not None
    assert [each["target"] for each in audit["items"]] == ["production"]


def test_an_sdk_of_a_deleted_environment_learns_why(checkout: Caller, sdk: Caller) -> None:
    assert sdk.get("/sdk/v1/snapshot").status_code == 200
    assert delete(checkout, PRODUCTION).status_code == 204
    refused = sdk.get("/sdk/v1/snapshot")
    assert refused.status_code == 401
    assert "environment 'production' of project 'default', which was deleted" in refused.text


def test_an_environment_in_use_is_deleted_only_with_its_key(checkout: Caller, store: Store) -> None:
    use(store)
    refused = delete(checkout, PRODUCTION)
    assert slug(refused) == "not-possible"
    assert "production" in refused.text
    for query in ("?force=true", "?force=true&confirm=staging"):
        unconfirmed = delete(checkout, PRODUCTION, query)
        assert unconfirmed.status_code == 422
        assert "/confirm" in unconfirmed.text
    confirmed = delete(checkout, PRODUCTION, "?force=true&confirm=production")
    assert confirmed.status_code == 204


def test_an_active_release_keeps_its_environment(checkout: Caller, release: str) -> None:
    for place, key in ((PRODUCTION, "production"), (PROJECT, "default")):
        refused = delete(checkout, place, f"?force=true&confirm={key}")
        assert slug(refused) == "not-possible"
        assert "checkout" in refused.text


def test_nothing_is_written_to_a_deleted_environment(checkout: Caller, store: Store) -> None:
    use(store)
    delete(checkout, PRODUCTION, "?force=true&confirm=production")
    with pytest.raises(NotFound, match="deleted"):
        use(store, sequence=2)
    with pytest.raises(NotFound, match="deleted"):
        store.snapshot("default", "production")


def test_nothing_of_an_environment_comes_back_with_its_key(
    checkout: Caller, store: Store, raw: redis.Redis
) -> None:
    use(store)
    checkout.post_ok(f"{PRODUCTION}/flags/checkout/kill", {})
    ended_release_versions = store.version("default", "production")
    before = checkout.get(f"{PRODUCTION}/flags/checkout").headers["ETag"]
    delete(checkout, PRODUCTION, "?force=true&confirm=production")
    checkout.delete(f"{PROJECT}/flags/checkout?force=true", match="*")
    checkout.post_ok(f"{PROJECT}/flags", {"key": "checkout", "type": "boolean"})
    checkout.post_ok(f"{PROJECT}/environments", {"key": "production"})
    shown = checkout.get(f"{PRODUCTION}/flags/checkout")
    assert shown.json is not None
    assert (shown.json["killed"], shown.json["evaluated"]["last_at"]) == (None, None)
    assert shown.headers["ETag"] != before
    for what in ("instances", "releases", "unknown-flags"):
        listed = checkout.get(f"{PRODUCTION}/{what}").json
        assert listed is not None
        assert listed["items"] == []
    history = checkout.get(f"{PRODUCTION}/flags/checkout/history").json
    assert history is not None
    assert len(history["items"]) == 1
    # An SDK that has the last version before misses one, so it gets the whole snapshot.
    assert store.version("default", "production") >= ended_release_versions + 2
    assert store.changes("default", "production", ended_release_versions) is None
    assert delete(checkout, PRODUCTION).status_code == 204


def test_a_project_is_deleted_with_all_that_belongs_to_it(
    checkout: Caller, sdk: Caller, raw: redis.Redis, store: Store
) -> None:
    use(store)
    refused = delete(checkout, PROJECT)
    assert slug(refused) == "not-possible"
    assert delete(checkout, PROJECT, "?force=true&confirm=default").status_code == 204
    names = [name.decode() for name in raw.scan_iter("tg:{default}:*")]
    assert [name for name in names if not keys.stays_after_deletion("default", name)] == []
    assert checkout.get(PROJECT).status_code == 404
    assert sdk.get("/sdk/v1/snapshot").status_code == 401
    audit = checkout.get("/api/v1/audit?action=project.delete").json
    assert audit is not None
    assert [each["target"] for each in audit["items"]] == ["default"]
    bootstrap(store, SECRET_KEY, ADMIN_TOKEN)
    assert checkout.get(PROJECT).status_code == 404
    checkout.post_ok(PROJECTS, {"key": "default"})
    listed = checkout.get(f"{PROJECT}/flags").json
    assert listed is not None
    assert listed["items"] == []
    checkout.post_ok(f"{PROJECT}/environments", {"key": "production"})
    checkout.post_ok(f"{PROJECT}/flags", {"key": "checkout", "type": "boolean"})


def test_tokens_and_grants_of_a_deleted_place_end(checkout: Caller, store: Store) -> None:
    person = checkout.post_ok(
        "/api/v1/people",
        {
            "email": "ada@example.com",
            "grants": [
                {"role": "developer", "project": "default", "environment": "production"},
                {"role": "viewer", "project": "default"},
            ],
        },
    )
    delete(checkout, PRODUCTION)
    shown = checkout.get(f"/api/v1/people/{person['id']}").json
    assert shown is not None
    assert [each["role"] for each in shown["grants"]] == ["viewer"]


KILLED_REMOVAL = """
import sys
from tidegate_server.domain.kinds import Kind
from tidegate_server.store import Store, removal
removal.STEP = 20
store = Store.connect(sys.argv[1])
(deletion,) = store.all("default", Kind.DELETION).values()
print("begun", flush=True)
removal.finish(store, deletion.document)
"""


@pytest.mark.parametrize("milliseconds", [5, 25, 60])
def test_a_removal_goes_on_after_kill_9(
    checkout: Caller,
    store: Store,
    raw: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    milliseconds: int,
) -> None:
    for number in range(60):
        checkout.post_ok(f"{PROJECT}/flags", {"key": f"flag-{number}", "type": "boolean"})
    use(store)
    with monkeypatch.context() as nobody:
        nobody.setattr(removal, "finish", lambda *_: None)
        assert delete(checkout, PRODUCTION, "?force=true&confirm=production").status_code == 204
    assert remaining(raw)
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED_REMOVAL, store.url], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "begun\n"
    time.sleep(milliseconds / 1000)
    child.kill()
    child.wait()
    child.stdout.close()
    removal.go_on(store)
    assert remaining(raw) == []
    assert removal.go_on(store) == 0
    (deletion,) = store.all("default", Kind.DELETION).values()
    document: Deletion = deletion.document
    assert document.done


def test_a_project_whose_deletion_was_cut_short_goes_on_being_deleted(
    checkout: Caller, store: Store, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as nobody:
        nobody.setattr(removal, "finish", lambda *_: None)
        assert delete(checkout, PROJECT).status_code == 204
    # It is closed: nothing can be written, though its document is still there.
    refused = checkout.post(f"{PROJECT}/flags", {"key": "late", "type": "boolean"})
    assert refused.status_code in (404, 409)
    assert removal.go_on(store) == 1
    assert checkout.get(PROJECT).status_code == 404
    names = [name.decode() for name in raw.scan_iter("tg:{default}:*")]
    assert [name for name in names if not keys.stays_after_deletion("default", name)] == []


def test_the_policy_job_goes_on_with_what_another_process_left(
    checkout: Caller, store: Store, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as nobody:
        nobody.setattr(removal, "finish", lambda *_: None)
        assert delete(checkout, PRODUCTION).status_code == 204
    PolicyJob(store, "job").tick()
    assert remaining(raw) == []


def test_the_deletion_of_what_is_protected_needs_approvals(
    checkout: Caller, store: Store, raw: redis.Redis
) -> None:
    use(store)
    other = another_person(checkout)
    protect(checkout)
    before = sorted(of_production(raw))
    for path, key in ((PRODUCTION, "production"), (PROJECT, "default")):
        query = f"?force=true&confirm={key}"
        assert slug(delete(checkout, path, query)) == "approval-required"
        planned = checkout.delete(
            f"{path}{query}", match="*", headers={"Tidegate-Propose": "not needed any more"}
        )
        assert planned.status_code == 202, planned.text
    assert set(before) <= set(of_production(raw))
    assert checkout.get(f"{PRODUCTION}/flags/checkout").status_code == 200
    request = proposed(
        checkout.delete(
            f"{PRODUCTION}?force=true&confirm=production",
            match="*",
            headers={"Tidegate-Propose": "not needed any more"},
        )
    )
    assert approve(other, request).status_code == 200
    applied = checkout.post(f"{request}/apply", {}, match="*")
    assert applied.status_code == 200, applied.text
    assert checkout.get(PRODUCTION).status_code == 404
    removal.go_on(store)
    assert remaining(raw) == []
