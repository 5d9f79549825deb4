"""Scheduled changes: made once, as their owner, with the checks of that time."""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Flask
from tidegate_server.admin.scheduled_changes.runs import ScheduledRuns
from tidegate_server.application import create_app
from tidegate_server.domain.change import Change, Fence
from tidegate_server.errors import StoreUnavailable
from tidegate_server.policy_job import PolicyJob
from tidegate_server.store import Store
from tidegate_server.store.commit import Committed
from tidegate_server.web.settings import ApiSettings

from tests.admin.guarded import (
    FLAG,
    ON,
    REQUESTS,
    another_person,
    approve,
    proposed,
    protect,
    targeting,
)
from tests.http_application import SECRET_KEY
from tests.http_calls import PRODUCTION, PROJECT, Caller, pointers, slug

SCHEDULES = f"{PROJECT}/scheduled-changes"
HOUR = 60 * 60 * 1000
DAY = 24 * HOUR


def text(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Job:
    """A policy job with a clock that a test sets."""

    app: Flask
    store: Store
    holder: str = "job"
    now_ms: int = 0
    job: PolicyJob = field(init=False)

    def __post_init__(self) -> None:
        self.now_ms = self.store.now_ms()
        self.job = PolicyJob(
            self.store,
            self.holder,
            clock=lambda: self.now_ms,
            make_scheduled_runs=lambda: ScheduledRuns(self.app),
        )

    def tick(self, later_ms: int = 0) -> None:
        self.now_ms += later_ms
        self.job.tick()


@pytest.fixture
def job(app: Flask, store: Store) -> Job:
    return Job(app, store)


@pytest.fixture
def ann(checkout: Caller) -> Caller:
    return another_person(checkout)


def operation(caller: Caller, **changes: Any) -> dict[str, Any]:
    body = targeting(caller, **changes)
    return {"method": "PUT", "path": FLAG, "body": body, "if_match": "*"}


def schedule(caller: Caller, now_ms: int, **more: Any) -> str:
    """Schedule to serve "on" in an hour; returns the path of the scheduled change."""
    body = {
        "reason": "the launch",
        "operations": [operation(caller, default=ON)],
        "at": text(now_ms + HOUR),
        **more,
    }
    body = {name: value for name, value in body.items() if value is not None}
    created = caller.post(SCHEDULES, body)
    assert created.status_code == 201, created.text
    return created.headers["Location"]


def read(caller: Caller, path: str) -> dict[str, Any]:
    found: dict[str, Any] | None = caller.get(path).json
    assert found is not None
    return found


def default(caller: Caller) -> Any:
    return targeting(caller)["default"]["variant"]


def test_a_change_is_made_when_it_is_due_and_once(checkout: Caller, ann: Caller, job: Job) -> None:
    path = schedule(ann, job.now_ms)
    planned = read(ann, path)
    assert planned["state"] == "scheduled"
    assert planned["next_runs"] == [planned["next_run_at"]]
    job.tick()
    assert default(ann) == "off"
    job.tick(HOUR + 1000)
    assert default(ann) == "on"
    done = read(ann, path)
    assert (done["state"], done["next_run_at"]) == ("done", None)
    assert [each["outcome"] for each in done["runs"]] == ["done"]
    version = read(ann, FLAG)["revision"]
    job.tick(DAY)
    assert read(ann, FLAG)["revision"] == version
    audit = read(checkout, f"{PROJECT}/audit?action=targeting.edit")["items"][0]
    assert audit["actor"] == planned["owner"]
    assert audit["reason"] == "the launch"
    assert audit["details"]["scheduled_change"] == planned["id"]


def test_a_recurring_change_runs_each_time(ann: Caller, job: Job, checkout: Caller) -> None:
    on = schedule(ann, job.now_ms, at=None, every={"time": "18:00"}, on_conflict="go_on")
    runs = read(ann, on)["next_runs"]
    assert len(runs) == 5
    assert all(each.endswith("T18:00:00.000Z") for each in runs)
    first = int(datetime.fromisoformat(runs[0]).timestamp() * 1000)
    job.now_ms = first
    job.tick()
    assert default(ann) == "on"
    assert read(ann, on)["next_run_at"] == runs[1]
    off = targeting(checkout, default={"variant": "off"})
    assert checkout.put(FLAG, off, match="*").status_code == 200
    job.tick(DAY)
    assert default(ann) == "on"
    assert [each["outcome"] for each in read(ann, on)["runs"]] == ["done", "done"]


def test_a_recurring_change_that_finds_nothing_to_do_is_done(ann: Caller, job: Job) -> None:
    on = schedule(ann, job.now_ms, at=None, every={"time": "18:00"})
    job.now_ms = int(datetime.fromisoformat(read(ann, on)["next_runs"][0]).timestamp() * 1000)
    job.tick()
    job.tick(DAY)
    runs = read(ann, on)["runs"]
    assert [each["outcome"] for each in runs] == ["done", "done"]
    assert "change nothing" in runs[1]["message"]


def test_after_downtime_a_change_is_made_late_within_its_limit(ann: Caller, job: Job) -> None:
    path = schedule(ann, job.now_ms, late_limit="2h")
    job.tick(3 * HOUR - 1000)
    assert default(ann) == "on"
    assert read(ann, path)["state"] == "done"


def test_after_a_longer_downtime_it_is_missed_and_says_so(
    checkout: Caller, ann: Caller, job: Job
) -> None:
    path = schedule(ann, job.now_ms, late_limit="2h")
    job.tick(4 * HOUR)
    assert default(ann) == "off"
    missed = read(ann, path)
    assert missed["state"] == "missed"
    assert "longer ago than its limit" in missed["runs"][0]["message"]
    entry = read(checkout, f"{PROJECT}/audit?limit=1")["items"][0]
    assert entry["action"] == "scheduled_change.miss"


def test_of_several_missed_times_only_the_latest_is_made(ann: Caller, job: Job) -> None:
    path = schedule(ann, job.now_ms, at=None, every={"time": "18:00"})
    first = int(datetime.fromisoformat(read(ann, path)["next_runs"][0]).timestamp() * 1000)
    job.now_ms = first + 3 * DAY + 60_000
    job.tick()
    [run] = read(ann, path)["runs"]
    assert run["outcome"] == "done"
    assert "3 earlier runs were missed" in run["message"]
    assert run["due_at"] == text(first + 3 * DAY).replace("Z", ".000Z")


def test_a_conflict_fails_the_run_and_is_shown(checkout: Caller, ann: Caller, job: Job) -> None:
    path = schedule(ann, job.now_ms)
    assert checkout.put(FLAG, targeting(checkout, enabled=False), match="*").status_code == 200
    [conflict] = read(ann, path)["conflicts"]
    assert (conflict["key"], conflict["made_against"], conflict["revision"]) == ("checkout", 1, 2)
    job.tick(HOUR + 1000)
    failed = read(ann, path)
    assert failed["state"] == "failed"
    assert "at revision 2, not 1" in failed["runs"][0]["message"]
    assert targeting(ann)["enabled"] is False


def test_a_kill_and_its_restore_fail_no_run(checkout: Caller, ann: Caller, job: Job) -> None:
    path = schedule(ann, job.now_ms)
    checkout.post_ok(f"{FLAG}/kill", {"reason": "customers are charged twice"})
    [conflict] = read(ann, path)["conflicts"]
    assert conflict["kind"] == "targeting"
    checkout.post_ok(f"{FLAG}/restore", {"reason": "it was the bank"})
    assert read(ann, path)["conflicts"] == []
    job.tick(HOUR + 1000)
    assert read(ann, path)["state"] == "done"
    assert default(ann) == "on"


def test_a_run_raises_nothing_that_a_kill_has_stopped(
    checkout: Caller, ann: Caller, job: Job
) -> None:
    path = schedule(ann, job.now_ms)
    checkout.post_ok(f"{FLAG}/kill", {"reason": "customers are charged twice"})
    job.tick(HOUR + 1000)
    failed = read(ann, path)
    assert failed["state"] == "failed"
    assert "flag checkout in production is killed" in failed["runs"][0]["message"]
    assert default(ann) == "off"


def test_a_run_may_go_on_in_spite_of_a_conflict(checkout: Caller, ann: Caller, job: Job) -> None:
    path = schedule(ann, job.now_ms, on_conflict="go_on")
    assert checkout.put(FLAG, targeting(checkout, enabled=False), match="*").status_code == 200
    job.tick(HOUR + 1000)
    assert read(ann, path)["state"] == "done"
    assert targeting(ann)["enabled"] is True


def token_id(caller: Caller) -> str:
    assert caller.token is not None
    return caller.token.split("_")[-2]


def test_an_owner_without_access_changes_nothing(checkout: Caller, ann: Caller, job: Job) -> None:
    path = schedule(ann, job.now_ms)
    assert checkout.delete(f"/api/v1/tokens/{token_id(ann)}", match="*").status_code == 204
    job.tick(HOUR + 1000)
    failed = read(checkout, path)
    assert failed["state"] == "failed"
    assert "no longer has access" in failed["runs"][0]["message"]
    assert default(checkout) == "off"
    entry = read(checkout, f"{PROJECT}/audit?limit=1")["items"][0]
    assert (entry["action"], entry["details"]["owner"]) == (
        "scheduled_change.fail",
        failed["owner"],
    )


def test_a_demoted_owner_changes_nothing(checkout: Caller, job: Job) -> None:
    checkout.post_ok("/api/v1/roles", {"key": "shipper", "permissions": ["read", "write"]})
    grant = {"role": "shipper", "project": "default"}
    person = checkout.post_ok("/api/v1/people", {"email": "ann@example.com", "grants": [grant]})
    token = another_person(checkout, "release_manager")
    own_token(checkout, job.store, token, person["id"])
    path = schedule(token, job.now_ms)
    demoted = {"email": "ann@example.com", "grants": [{**grant, "role": "viewer"}]}
    changed = checkout.put(f"/api/v1/people/{person['id']}", demoted, match="*")
    assert changed.status_code == 200, changed.text
    job.tick(HOUR + 1000)
    failed = read(checkout, path)
    assert failed["state"] == "failed"
    assert "write" in failed["runs"][0]["message"]
    assert default(checkout) == "off"


def own_token(admin: Caller, store: Store, caller: Caller, person: str) -> None:
    """Make a token a person's own one."""
    from dataclasses import replace

    from tidegate_server.domain.change import Address, Put
    from tidegate_server.domain.kinds import Kind

    address = Address(Kind.TOKEN, token_id(caller))
    stored = store.get("", address)
    assert stored is not None
    token = replace(stored.document, person=person, made_by=person)
    store.commit(Change("", (Put(address, token, stored.revision),)))


def test_a_schedule_is_cancelled(checkout: Caller, ann: Caller, job: Job) -> None:
    path = schedule(ann, job.now_ms)
    viewer = another_person(checkout, "viewer")
    assert slug(viewer.post(f"{path}/cancel", {})) == "forbidden"
    cancelled = ann.post(f"{path}/cancel", {"reason": "not now"})
    assert cancelled.json is not None
    assert (cancelled.json["state"], cancelled.json["cancelled"]["reason"]) == (
        "cancelled",
        "not now",
    )
    job.tick(HOUR + 1000)
    assert default(ann) == "off"
    assert slug(ann.post(f"{path}/cancel", {})) == "not-possible"


def test_a_protected_environment_asks_for_an_approval_of_the_schedule(
    checkout: Caller, ann: Caller, job: Job
) -> None:
    bob = another_person(checkout)
    protect(checkout)
    body = {
        "reason": "the launch",
        "operations": [operation(ann, default=ON)],
        "at": text(job.now_ms + HOUR),
    }
    refused = ann.post(SCHEDULES, body)
    assert slug(refused) == "approval-required"
    assert "the schedule of targeting.edit checkout" in refused.text
    request = proposed(ann.post(SCHEDULES, body, headers={"Tidegate-Propose": "the launch"}))
    assert approve(bob, request).status_code == 200
    assert ann.post(f"{request}/apply", {}).status_code == 200
    [planned] = read(ann, SCHEDULES)["items"]
    path = f"{SCHEDULES}/{planned['id']}"
    assert len(read(ann, path)["approvals"]) == 1
    job.tick(HOUR + 1000)
    assert read(ann, path)["state"] == "done", read(ann, path)
    assert default(ann) == "on"


def test_a_schedule_from_before_the_protection_changes_nothing(
    checkout: Caller, ann: Caller, job: Job
) -> None:
    path = schedule(ann, job.now_ms)
    protect(checkout)
    job.tick(HOUR + 1000)
    failed = read(ann, path)
    assert failed["state"] == "failed"
    assert "protected" in failed["runs"][0]["message"]
    assert default(ann) == "off"


def test_an_approver_who_lost_access_does_not_count_for_a_schedule(
    checkout: Caller, ann: Caller, job: Job
) -> None:
    bob = another_person(checkout)
    protect(checkout)
    body = {
        "reason": "the launch",
        "operations": [operation(ann, default=ON)],
        "at": text(job.now_ms + HOUR),
    }
    request = proposed(ann.post(SCHEDULES, body, headers={"Tidegate-Propose": "the launch"}))
    approve(bob, request)
    ann.post(f"{request}/apply", {})
    assert checkout.delete(f"/api/v1/tokens/{token_id(bob)}", match="*").status_code == 204
    job.tick(HOUR + 1000)
    assert default(ann) == "off"
    [planned] = read(ann, SCHEDULES)["items"]
    assert planned["state"] == "failed"


@pytest.mark.parametrize(
    ("more", "pointer"),
    [
        ({"at": "2001-01-01"}, "/at"),
        ({"at": "2999-01-01"}, "/at"),
        ({"at": "soon"}, "/at"),
        ({"at": None}, "/at"),
        ({"every": {"time": "18:00"}}, "/at"),
        ({"timezone": "Mars/Olympus"}, "/timezone"),
        ({"at": None, "every": {"time": "24:00"}}, "/every/time"),
        ({"at": None, "every": {"time": "18:00", "month_days": [32]}}, "/every/month_days/0"),
        ({"at": None, "every": {"time": "12:00"}, "until": "2001-01-01"}, "/until"),
        ({"until": "2099-01-01"}, "/until"),
        ({"late_limit": "31d"}, "/late_limit"),
        ({"reason": ""}, "/reason"),
    ],
)
def test_an_invalid_schedule_is_refused(
    ann: Caller, job: Job, more: dict[str, Any], pointer: str
) -> None:
    body = {
        "reason": "x",
        "operations": [operation(ann, default=ON)],
        "at": text(job.now_ms + HOUR),
        **more,
    }
    assert pointer in pointers(ann.post(SCHEDULES, body))


def test_a_secret_is_not_scheduled_and_neither_is_a_schedule(checkout: Caller, job: Job) -> None:
    rotate = f"{PRODUCTION}/rotate-key"
    inner = {"reason": "x", "operations": [operation(checkout, default=ON)], "at": "2099-01-01"}
    for path, body in ((rotate, None), (SCHEDULES, inner)):
        planned = {"method": "POST", "path": path, "body": body}
        outer = {"reason": "x", "operations": [planned], "at": text(job.now_ms + HOUR)}
        assert pointers(checkout.post(SCHEDULES, outer)) == ["/operations/0/path"]


def test_two_leaders_make_one_change(
    checkout: Caller, ann: Caller, job: Job, app: Flask, store: Store
) -> None:
    path = schedule(ann, job.now_ms)
    other = Job(app, store, holder="other")
    job.tick(HOUR + 1000)
    other.now_ms = job.now_ms
    other.tick()
    assert len(read(ann, path)["runs"]) == 1
    assert read(ann, FLAG)["revision"] == 2


def test_a_deposed_leader_makes_no_change(ann: Caller, job: Job, app: Flask, store: Store) -> None:
    path = schedule(ann, job.now_ms)
    fence = store.leases.acquire("default", "old", 1)
    assert fence is not None
    wait_for_expiry = store.now_ms() + 5
    while store.now_ms() < wait_for_expiry:
        pass
    assert store.leases.acquire("default", "new", 60_000) is not None
    from tidegate_server.errors import LeaseLost

    with pytest.raises(LeaseLost):
        ScheduledRuns(app).run("default", path.rpartition("/")[2], job.now_ms + 2 * HOUR, fence)
    assert default(ann) == "off"
    assert read(ann, path)["runs"] == []


def test_a_commit_without_an_answer_is_not_repeated(
    ann: Caller, job: Job, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = schedule(ann, job.now_ms)
    commit = store.commit

    def silent(change: Change, durable: bool = True) -> Committed:
        commit(change, durable)
        raise StoreUnavailable("The connection was lost.")

    monkeypatch.setattr(store, "commit", silent)
    with pytest.raises(StoreUnavailable):
        job.tick(HOUR + 1000)
    monkeypatch.undo()
    job.tick(1000)
    assert len(read(ann, path)["runs"]) == 1
    assert read(ann, FLAG)["revision"] == 2


def run_and_die(url: str, id: str, now_ms: int, when: str, fence: Fence) -> None:
    """Make a run in a process that is killed before or after its commit."""
    store = Store.connect(url)
    commit = store.commit

    def deadly(change: Change, durable: bool = True) -> Committed:
        if when == "after":
            commit(change, durable)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    store.commit = deadly  # type: ignore[method-assign]
    app = create_app(store, ApiSettings(SECRET_KEY))
    ScheduledRuns(app).run("default", id, now_ms, fence)


@pytest.mark.parametrize(("when", "revision"), [("before", 1), ("after", 2)])
def test_a_killed_process_makes_a_change_completely_or_not_at_all(
    ann: Caller, job: Job, store: Store, when: str, revision: int
) -> None:
    path = schedule(ann, job.now_ms)
    fence = store.leases.acquire("default", "dying", 60_000)
    assert fence is not None
    arguments = (store.url, path.rpartition("/")[2], job.now_ms + HOUR + 1000, when, fence)
    process = multiprocessing.get_context("spawn").Process(target=run_and_die, args=arguments)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    store.leases.release("default", fence)
    assert read(ann, FLAG)["revision"] == revision
    assert len(read(ann, path)["runs"]) == revision - 1
    job.tick(HOUR + 2000)
    assert read(ann, FLAG)["revision"] == 2
    assert len(read(ann, path)["runs"]) == 1


def test_a_clock_that_jumps_makes_no_change_twice(ann: Caller, job: Job) -> None:
    path = schedule(ann, job.now_ms, at=None, every={"time": "18:00"}, late_limit="30d")
    began = job.now_ms
    first = int(datetime.fromisoformat(read(ann, path)["next_runs"][0]).timestamp() * 1000)
    job.now_ms = first + DAY // 2  # forward, too far
    job.tick()
    assert len(read(ann, path)["runs"]) == 1
    for now_ms in (began, first - 1, first, first + 1, first + DAY // 2):
        job.now_ms = now_ms
        job.tick()
    assert len(read(ann, path)["runs"]) == 1
    job.now_ms = first + DAY
    job.tick()
    assert [each["due_at"] for each in read(ann, path)["runs"]] == [
        text(first).replace("Z", ".000Z"),
        text(first + DAY).replace("Z", ".000Z"),
    ]


def test_several_operations_are_one_run(checkout: Caller, ann: Caller, job: Job) -> None:
    operations = [
        {"method": "POST", "path": f"{PROJECT}/segments", "body": {"key": "crew"}},
        operation(ann, default=ON),
    ]
    path = schedule(ann, job.now_ms, operations=operations)
    job.tick(HOUR + 1000)
    assert read(ann, path)["state"] == "done"
    assert read(ann, f"{PROJECT}/segments/crew")["key"] == "crew"
    entry = read(checkout, f"{PROJECT}/audit?limit=1")["items"][0]
    assert entry["action"] == "scheduled_change.run"


def test_the_list_has_the_next_runs_first(ann: Caller, job: Job) -> None:
    later = schedule(ann, job.now_ms, at=text(job.now_ms + DAY))
    sooner = schedule(ann, job.now_ms)
    listed = read(ann, SCHEDULES)["items"]
    assert [each["id"] for each in listed] == [path.rpartition("/")[2] for path in (sooner, later)]
    assert read(ann, f"{SCHEDULES}?state=done")["items"] == []


def test_requests_and_schedules_are_separate(ann: Caller, job: Job) -> None:
    schedule(ann, job.now_ms)
    assert read(ann, REQUESTS)["items"] == []


def freeze(admin: Caller, begins_ms: int, ends_ms: int) -> None:
    body = {"freezes": [{"from": text(begins_ms), "to": text(ends_ms), "reason": "holidays"}]}
    answer = admin.put(PRODUCTION, body, match="*")
    assert answer.status_code == 200, answer.text


def test_a_freeze_holds_a_scheduled_change_until_it_ends(
    checkout: Caller, ann: Caller, job: Job
) -> None:
    path = schedule(ann, job.now_ms)
    freeze(checkout, job.now_ms, job.now_ms + 9 * HOUR)
    job.tick(HOUR + 1000)
    waiting = read(ann, path)
    assert (waiting["state"], default(ann)) == ("scheduled", "off")
    assert "holidays" in waiting["held_because"]
    job.tick(8 * HOUR)
    assert default(ann) == "on"
    done = read(ann, path)
    assert (done["state"], done["held_until"]) == ("done", None)


def test_a_freeze_that_is_lifted_or_moved_holds_a_scheduled_change_no_longer_than_it_says(
    checkout: Caller, ann: Caller, job: Job
) -> None:
    path = schedule(ann, job.now_ms)
    began_ms = job.now_ms
    freeze(checkout, began_ms, began_ms + 9 * HOUR)
    job.tick(HOUR + 1000)
    held = read(ann, path)
    # Other changes write nothing about it again.
    checkout.post_ok(f"{PROJECT}/flags", {"key": "other", "type": "boolean"})
    for _ in range(3):
        job.tick(1000)
    assert read(ann, path) == held
    freeze(checkout, began_ms, began_ms + 10 * HOUR)
    job.tick(1000)
    assert (read(ann, path)["held_until"], default(ann)) != (held["held_until"], "on")
    assert checkout.put(PRODUCTION, {"freezes": []}, match="*").status_code == 200
    job.tick(1000)
    done = read(ann, path)
    assert (done["state"], done["held_until"], default(ann)) == ("done", None, "on")


def test_no_freeze_holds_a_scheduled_kill(checkout: Caller, ann: Caller, job: Job) -> None:
    kill = {"method": "POST", "path": f"{FLAG}/kill", "body": {}}
    path = schedule(checkout, job.now_ms, operations=[kill])
    freeze(checkout, job.now_ms, job.now_ms + 9 * HOUR)
    job.tick(HOUR + 1000)
    assert read(ann, path)["state"] == "done"
    assert read(ann, FLAG)["killed"] is not None


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"freezes": [{"from": "2026-12-24", "to": "2026-12-01"}]}, "/freezes/0/to"),
        ({"freezes": [{"from": "soon, soon", "to": "2026-12-01"}]}, "/freezes/0/from"),
        ({"timezone": "Mars/Olympus"}, "/timezone"),
    ],
)
def test_an_invalid_freeze_is_refused(checkout: Caller, body: dict[str, Any], pointer: str) -> None:
    assert pointer in pointers(checkout.put(PRODUCTION, body, match="*"))
