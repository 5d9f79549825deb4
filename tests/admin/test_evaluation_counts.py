"""How often flags are evaluated, which are stale, and what may be deleted."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from tidegate_server.store import Store, keys

from tests.admin.guarded import another_person, approve, proposed
from tests.http_calls import PRODUCTION, PROJECT, Caller, slug

FLAG = f"{PROJECT}/flags/checkout"
TARGETING = f"{PRODUCTION}/flags/checkout"
DAY_MS = 86_400_000

Report = Callable[..., Any]


@pytest.fixture
def report(sdk: Caller) -> Report:
    """Send the next report of an instance with these evaluations."""
    sequence = 0

    def send(*flags: dict[str, Any]) -> Any:
        nonlocal sequence
        sequence += 1
        document = {
            **{"schema": 2, "instance": "a" * 32, "sequence": sequence, "continues": sequence > 1},
            **{"version": 1, "interval": 10, "sdk": "test/1", "host": "web-1", "pid": 1},
            **{"counts": [], "failing": [], "samples": [], "evaluations": list(flags)},
        }
        return sdk.post("/sdk/v1/reports", document)

    return send


def asked(key: str = "checkout", defaults: int = 0, estimated: bool = False, **on: int) -> Any:
    return {"flag": key, "variants": on, "defaults": defaults, "estimated": estimated}


def body(caller: Caller, path: str) -> Any:
    answer = caller.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json


def age(store: Store, days: float) -> None:
    """Make everything that was asked older."""
    connection = store._connection
    for name in (
        keys.evaluated("default", "production"),
        keys.askers("default", "production"),
    ):
        fields = connection.read("HGETALL", name)
        for field, value in fields.items():
            at_ms, *host = value.split()
            connection.write(
                "HSET", name, field, b" ".join((b"%d" % (int(at_ms) - days * DAY_MS), *host))
            )


def test_a_targeting_shows_how_it_is_evaluated(checkout: Caller, report: Report) -> None:
    before = checkout.get(TARGETING)
    assert before.json is not None
    assert before.json["evaluated"] == {
        **{"last_at": None, "in_bulk_at": None, "per_minute": 0, "estimated": False},
        **{"by_variant": {}, "defaults": None},
    }
    assert report(asked(on=12, off=3, defaults=1)).status_code == 200
    after = checkout.get(TARGETING)
    assert after.json is not None
    evaluated = after.json["evaluated"]
    assert {name: each["count"] for name, each in evaluated["by_variant"].items()} == {
        "on": 12,
        "off": 3,
    }
    assert evaluated["defaults"]["count"] == 1
    assert evaluated["last_at"] == evaluated["by_variant"]["on"]["last_at"]
    assert after.headers["ETag"] != before.headers["ETag"]
    listed = body(checkout, f"{PRODUCTION}/flags")["items"]
    assert [each["evaluated"] for each in listed] == [evaluated]


def test_what_was_read_can_be_written_back(checkout: Caller, report: Report) -> None:
    report(asked(on=1))
    read = checkout.get(TARGETING)
    assert read.json is not None
    names = ("enabled", "off_variant", "default", "rules", "prerequisites", "evaluated", "stale")
    document = {name: read.json[name] for name in names}
    assert checkout.put(TARGETING, document, match=read.headers["ETag"]).status_code == 200
    flag = checkout.get(FLAG)
    assert flag.json is not None
    left_out = ("revision", "updated_at", "warnings")
    again = {name: value for name, value in flag.json.items() if name not in left_out}
    assert checkout.put(FLAG, again, match=flag.headers["ETag"]).status_code == 200


def test_evaluations_over_time_name_the_applications(checkout: Caller, report: Report) -> None:
    report(asked(on=12))
    report(asked(on=512, estimated=True))
    for step in ("minute", "hour", "day"):
        found = body(checkout, f"{TARGETING}/evaluations?step={step}")
        # A minute may end between the reports.
        counts = [each["by_variant"].get("on", 0) for each in found["points"]]
        assert sum(counts) == 512
        assert found["points"][-1]["estimated"]
    [asker] = found["askers"]
    assert asker["application"] == "a sdk"


def test_the_time_of_evaluations_is_checked(checkout: Caller) -> None:
    refused = checkout.get(f"{TARGETING}/evaluations?from=yesterday")
    assert slug(refused) == "invalid"
    assert "2026-05-01" in refused.text
    backwards = checkout.get(f"{TARGETING}/evaluations?from=2026-05-02&to=2026-05-01")
    assert slug(backwards) == "invalid"
    found = body(checkout, f"{TARGETING}/evaluations?step=day&from=1999-01-01")
    assert len(found["points"]) <= 101


def test_a_flag_that_is_asked_for_and_does_not_exist_is_listed(
    checkout: Caller, report: Report
) -> None:
    report(asked("no-such-flag", defaults=3), asked(on=1))
    [unknown] = body(checkout, f"{PRODUCTION}/unknown-flags")["items"]
    assert unknown["key"] == "no-such-flag"
    checkout.post_ok(f"{PROJECT}/flags", {"key": "no-such-flag", "type": "boolean"})
    assert body(checkout, f"{PRODUCTION}/unknown-flags")["items"] == []


@pytest.mark.parametrize(
    ("entry", "pointer"),
    [
        ({**asked(on=1), "flag": "Not a key"}, "/evaluations/0/flag"),
        ({**asked(on=1), "variants": {"a|b": 1}}, "/evaluations/0/variants/a|b"),
        ({**asked(on=-1)}, "/evaluations/0/variants/on"),
        ({**asked(), "defaults": 10**13}, "/evaluations/0/defaults"),
    ],
)
def test_impossible_evaluations_are_refused_by_pointer(
    checkout: Caller, report: Report, entry: Any, pointer: str
) -> None:
    refused = report(entry)
    assert refused.status_code == 422
    assert [each["pointer"] for each in refused.json["errors"]] == [pointer]


def test_a_flag_is_named_once_in_a_report(checkout: Caller, report: Report) -> None:
    refused = report(asked(on=1), asked(off=1))
    assert [each["pointer"] for each in refused.json["errors"]] == ["/evaluations/1"]


def test_archiving_names_the_applications_that_still_ask(checkout: Caller, report: Report) -> None:
    quiet = checkout.post_ok(f"{FLAG}/archive", {})
    assert "warnings" not in quiet
    checkout.post_ok(f"{FLAG}/unarchive", {})
    report(asked(on=1))
    archived = checkout.post_ok(f"{FLAG}/archive", {})
    [warning] = archived["warnings"]
    assert "production" in warning["detail"]
    assert "sdk" in warning["detail"]


def test_a_flag_is_deleted_once_nobody_has_asked_for_it_for_days(
    checkout: Caller, report: Report, store: Store
) -> None:
    checkout.post_ok(f"{FLAG}/archive", {})
    report(asked(defaults=1))
    refused = checkout.delete(FLAG, match="*")
    assert slug(refused) == "not-possible"
    assert "production" in refused.text
    assert "force" in refused.text
    age(store, 6.9)
    assert checkout.delete(FLAG, match="*").status_code == 409
    age(store, 0.2)
    assert checkout.delete(FLAG, match="*").status_code == 204


def test_the_project_says_how_long_nobody_may_have_asked(checkout: Caller, report: Report) -> None:
    project = checkout.get(PROJECT)
    assert project.json is not None
    assert project.json["deletable_after_days"] == 7
    changed = checkout.put(
        PROJECT,
        {"name": "Default", "deletable_after_days": 0},
        match=project.headers["ETag"],
    )
    assert changed.status_code == 200
    report(asked(on=1))
    time.sleep(0.002)
    checkout.post_ok(f"{FLAG}/archive", {})
    assert checkout.delete(FLAG, match="*").status_code == 204


def test_force_deletes_and_nothing_of_the_flag_comes_back(checkout: Caller, report: Report) -> None:
    report(asked(on=7, defaults=2))
    assert checkout.delete(f"{FLAG}?force=true", match="*").status_code == 204
    checkout.post_ok(f"{PROJECT}/flags", {"key": "checkout", "type": "boolean"})
    assert body(checkout, TARGETING)["evaluated"]["last_at"] is None
    found = body(checkout, f"{TARGETING}/evaluations?step=day")
    assert found["askers"] == []
    assert not any(each["by_variant"] or each["defaults"] for each in found["points"])


@pytest.mark.parametrize("path", [f"{PROJECT}/flags", f"{FLAG}/copy"])
def test_a_proposed_flag_takes_no_counts_over_and_forgets_none_before_it_is_applied(
    checkout: Caller, store: Store, path: str
) -> None:
    earlier = keys.evaluated("default", "production")
    store._connection.write("HSET", earlier, "later", store.now_ms())
    flag = {"key": "later"} | ({} if path == f"{FLAG}/copy" else {"type": "boolean"})
    request = proposed(checkout.post(path, flag, headers={"Tidegate-Propose": "soon"}))
    assert store._connection.read("HEXISTS", earlier, "later")
    assert approve(another_person(checkout), request).status_code == 200
    checkout.post_ok(f"{request}/apply", {})
    assert not store._connection.read("HEXISTS", earlier, "later")
    assert body(checkout, f"{PRODUCTION}/flags/later")["evaluated"]["last_at"] is None


def test_a_flag_that_nobody_asks_for_is_stale(
    checkout: Caller, report: Report, store: Store
) -> None:
    checkout.post_ok(f"{PROJECT}/flags", {"key": "busy", "type": "boolean"})
    report(asked(on=1), asked("busy", on=1))
    assert "stale" not in body(checkout, FLAG)
    age(store, 31)
    report(asked(on=1), asked("busy", on=2))
    stale = body(checkout, FLAG)["stale"]
    assert stale["reason"] == "not_asked"
    assert stale["fix"]
    assert body(checkout, TARGETING)["stale"] == stale
    found = body(checkout, f"{PROJECT}/flags?stale=true")
    assert [each["key"] for each in found["items"]] == ["checkout"]
    assert found["total"] == 1
    here = body(checkout, f"{PRODUCTION}/flags?stale=true")
    assert [each["flag"] for each in here["items"]] == ["checkout"]
