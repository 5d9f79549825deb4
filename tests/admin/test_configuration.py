"""A whole project's configuration over the API: export, plan and apply."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from tidegate_server.admin.configuration.editor_schemas import editor_schemas
from tidegate_server.documents.project_files import SECTIONS, ObjectPlace, file_text
from tidegate_server.domain.audit_chain import verify
from tidegate_server.store import Store
from tidegate_server.store.logs import Period
from tidegate_server.strict_text import parse_yaml
from tidegate_server.web import backend

from tests.admin.guarded import another_person, approve, proposed, protect
from tests.admin.test_hooks import HOOK
from tests.configurations import configurations
from tests.http_calls import PRODUCTION, PROJECT, Caller, pointers, slug, stored_documents

EXPORT, PLAN, APPLY = (f"{PROJECT}/{name}" for name in ("export", "plan", "apply"))


@pytest.fixture(autouse=True)
def in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute in a thread instead of a new process for each test, which takes seconds to start.

    As in a process, nothing of the request is there but what is passed on.
    """

    def compute(
        _: object, patience: int, function: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> Any:
        call = (backend.backend().store.url, patience, function, arguments)
        given = pickle.loads(pickle.dumps(call))
        with ThreadPoolExecutor(1) as pool:
            return pickle.loads(pickle.dumps(pool.submit(backend._with_store, *given).result()))

    monkeypatch.setattr(backend, "_compute", compute)


STAFF_RULE = {"id": "staff", "when": {"segment": "beta"}, "serve": {"variant": "on"}}


def targeting(**changes: Any) -> dict[str, Any]:
    return {"enabled": True, "off_variant": "off", "default": {"variant": "off"}, **changes}


def flag(key: str = "banner", **changes: Any) -> dict[str, Any]:
    return {"key": key, "type": "boolean", **changes}


def exported(caller: Caller) -> dict[str, Any]:
    """Return the configuration of the project, as a body of a plan."""
    answer = caller.get(EXPORT)
    assert answer.status_code == 200, answer.text
    assert answer.json is not None
    body: dict[str, Any] = dict(answer.json)
    del body["schemas"]
    return body


def problems(plan: Any) -> dict[str, str]:
    return {each["pointer"]: each["detail"] for each in plan["problems"]}


def actions(plan: Any) -> dict[tuple[str, str, str], str]:
    return {
        (each["kind"], each["key"], each["environment"]): each["action"]
        for each in plan["documents"]
    }


def test_an_import_of_an_export_changes_nothing(checkout: Caller, store: Store) -> None:
    before = stored_documents(store)
    body = exported(checkout)
    plan = checkout.post_ok(PLAN, {**body, "prune": True})
    assert (plan["documents"], plan["problems"], plan["kept"]) == ([], [], [])
    assert plan["unchanged"] == 2 + 1 + 2 + 1 + 1
    applied = checkout.post_ok(APPLY, {**body, "prune": True})
    assert applied["versions"] == {}
    assert stored_documents(store) == before


def test_an_export_has_the_fields_that_differ_from_their_default(checkout: Caller) -> None:
    body = exported(checkout)
    assert body["project"] == {"format": 1, "key": "default", "name": "Default"}
    assert body["segments"] == [{"key": "staff", "included": ["ann"]}]
    assert body["flags"] == [
        {
            "key": "checkout",
            "type": "boolean",
            "variants": [{"key": "on", "value": True}, {"key": "off", "value": False}],
            "targeting": {"development": targeting(), "production": targeting()},
        }
    ]


def test_documents_of_one_import_may_name_each_other(admin: Caller, store: Store) -> None:
    new = {
        "flags": [
            flag("b", targeting={"production": targeting(rules=[STAFF_RULE])}),
            flag(
                "a",
                targeting={
                    "production": targeting(prerequisites=[{"flag": "b", "variants": ["on"]}])
                },
            ),
        ],
        "segments": [{"key": "beta", "when": {"segment": "inner"}}, {"key": "inner"}],
        "webhooks": [{"key": "chat", "url": "https://chat.example/x"}],
        "policies": [
            {
                "key": "slow",
                "stages": [{"percentage": 50}, {"percentage": 100}],
                "notify": [{"webhook": "chat", "events": ["rolled_back"]}],
            }
        ],
    }
    plan = admin.post_ok(PLAN, new)
    assert plan["problems"] == []
    assert set(actions(plan).values()) == {"create"}
    version = store.version("default", "production")
    applied = admin.post_ok(APPLY, {**new, "plan": plan["plan"]})
    assert applied["versions"]["production"] == version + 1
    assert admin.get(f"{PRODUCTION}/flags/b").json["rules"] == [STAFF_RULE]  # type: ignore[index]
    assert admin.post_ok(PLAN, exported(admin))["documents"] == []


def test_a_snapshot_after_an_import_is_the_one_of_the_same_edits(
    checkout: Caller, sdk: Caller
) -> None:
    body = exported(checkout)
    body["flags"][0]["targeting"]["production"] = targeting(
        rules=[{**STAFF_RULE, "when": {"segment": "staff"}}], default={"variant": "on"}
    )
    body["flags"][0]["description"] = "The new checkout"
    body["segments"][0]["included"] = ["ann", "bob"]
    checkout.post_ok(APPLY, body)
    snapshot = sdk.get("/sdk/v1/snapshot").json
    assert snapshot is not None
    stored = checkout.get(f"{PRODUCTION}/flags/checkout").json
    definition = checkout.get(f"{PROJECT}/flags/checkout").json
    assert stored is not None
    assert definition is not None
    entry = snapshot["flags"]["checkout"]
    assert entry["version"] == stored["revision"] + definition["revision"]
    assert entry["default"]["variant"] == "on"
    assert snapshot["segments"]["staff"]["included"] == ["ann", "bob"]


def test_a_variant_may_leave_a_flag_together_with_what_serves_it(admin: Caller) -> None:
    variants = [{"key": key, "value": key} for key in ("red", "green", "blue")]
    colour = {"key": "colour", "type": "string", "variants": variants}
    served = {"enabled": True, "off_variant": "red", "default": {"variant": "blue"}}
    admin.post_ok(APPLY, {"flags": [{**colour, "targeting": {"production": served}}]})
    less = {**colour, "variants": variants[:2]}
    plan = admin.post_ok(PLAN, {"flags": [less]})
    assert "used by the default rule in production" in problems(plan)["/flags/0/variants"]
    still = {**served, "default": {"variant": "green"}}
    admin.post_ok(APPLY, {"flags": [{**less, "targeting": {"production": still}}]})
    assert [each["key"] for each in exported(admin)["flags"][0]["variants"]] == ["red", "green"]


BROKEN = {
    "unknown-segment": (
        {"flags": [flag(targeting={"production": targeting(rules=[STAFF_RULE])})]},
        {"/flags/0/targeting/production/rules/0/when/segment": "There is no segment 'beta'"},
    ),
    "unknown-environment": (
        {"flags": [flag(targeting={"staging": targeting()})]},
        {"/flags/0/targeting/staging": "There is no environment 'staging'"},
    ),
    "unknown-field": ({"segments": [{"key": "s", "includes": []}]}, {"/segments/0/includes": ""}),
    "bad-key": ({"flags": [flag("../x")]}, {"/flags/0/key": "A key is"}),
    "no-object": ({"flags": [3]}, {"/flags/0": ""}),
    "twice": ({"segments": [{"key": "s"}, {"key": "s"}]}, {"/segments/1/key": "There are two"}),
    "cycle": (
        {
            "segments": [
                {"key": "a", "when": {"segment": "b"}},
                {"key": "b", "when": {"segment": "a"}},
            ]
        },
        {"/segments/0/when": "contain itself", "/segments/1/when": "contain itself"},
    ),
    "new-hook": (
        {
            "hooks": [
                {
                    **{"id": "hook_x", "name": "x", "kind": "generic", "action": "kill"},
                    **{"environment": "production", "flags": ["checkout"]},
                }
            ]
        },
        {"/hooks/0/id": "There is no hook"},
    ),
    "hidden-url": (
        {"webhooks": [{"key": "w", "url": "https://a.example/…"}]},
        {"/webhooks/0/url": "Write the whole URL"},
    ),
    "private-url": (
        {"webhooks": [{"key": "w", "url": "http://127.0.0.1/"}]},
        {"/webhooks/0/url": "not a public address"},
    ),
    "other-project": ({"project": {"key": "web"}}, {"/project/key": "for 'default'"}),
    "new-name": (
        {"project": {"key": "default", "name": "Shop"}},
        {"/project/name": "PUT /api/v1/projects/default"},
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_plan_names_every_problem_and_an_apply_refuses_it(
    checkout: Caller, store: Store, case: str
) -> None:
    body, expected = BROKEN[case]
    plan = checkout.post_ok(PLAN, body)
    found = problems(plan)
    assert found.keys() == expected.keys()
    assert all(text in found[pointer] for pointer, text in expected.items()), found
    before = stored_documents(store)
    refused = checkout.post(APPLY, body)
    assert (refused.status_code, pointers(refused)) == (422, list(expected))
    assert stored_documents(store) == before


@pytest.mark.parametrize(
    ("body", "pointer"),
    [({"flag": []}, "/flag"), ({"flags": {}}, "/flags"), ({"prune": 1}, "/prune"), ([], "")],
)
def test_an_unknown_form_is_refused(admin: Caller, body: Any, pointer: str) -> None:
    refused = admin.post(PLAN, body)
    assert (refused.status_code, pointers(refused)) == (422, [pointer])


def test_an_ambiguous_body_is_refused(admin: Caller) -> None:
    headers = {"Content-Type": "application/json"}
    text = '{"flags": [], "flags": []}'
    refused = admin.call("POST", PLAN, headers=headers, data=text)
    assert refused.status_code == 400
    assert "twice" in refused.json["detail"]  # type: ignore[index]


def test_all_or_nothing_if_one_document_is_wrong(checkout: Caller, store: Store) -> None:
    before = stored_documents(store)
    body = {"segments": [{"key": "new"}], "flags": [flag(targeting={"nowhere": targeting()})]}
    assert checkout.post(APPLY, body).status_code == 422
    assert stored_documents(store) == before


def test_an_apply_is_refused_if_its_plan_is_no_longer_right(checkout: Caller) -> None:
    body = exported(checkout)
    body["segments"][0]["included"] = ["bob"]
    plan = checkout.post_ok(PLAN, body)
    segment = checkout.get(f"{PROJECT}/segments/staff")
    changed = {"included": ["eve"]}
    etag = segment.headers["ETag"]
    assert checkout.put(f"{PROJECT}/segments/staff", changed, match=etag).status_code == 200
    refused = checkout.post(APPLY, {**body, "plan": plan["plan"]})
    assert (refused.status_code, slug(refused)) == (409, "stale-revision")
    assert "make a new plan" in refused.json["detail"]  # type: ignore[index]


def test_an_apply_whose_answer_was_lost_may_be_sent_again(checkout: Caller) -> None:
    body = exported(checkout)
    body["segments"][0]["included"] = ["bob"]
    body = {**body, "plan": checkout.post_ok(PLAN, body)["plan"]}
    assert [each["key"] for each in checkout.post_ok(APPLY, body)["documents"]] == ["staff"]
    again = checkout.post_ok(APPLY, body)
    assert (again["documents"], again["versions"]) == ([], {})
    page: Any = checkout.get(f"{PROJECT}/audit?action=configuration.apply").json
    entries = page["items"]
    assert [entry["details"]["plan"] for entry in entries] == [body["plan"]]


def test_an_apply_that_the_store_does_not_confirm_says_how_to_find_out(
    checkout: Caller, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = exported(checkout)
    body["segments"][0]["included"] = ["bob"]
    body = {**body, "plan": checkout.post_ok(PLAN, body)["plan"]}
    with redis.Redis.from_url(store.url) as client, monkeypatch.context() as impatient:
        impatient.setattr(backend, "IMPORT_PATIENCE", 0.1)
        client.execute_command("CLIENT", "PAUSE", 600_000, "WRITE")
        refused = checkout.post(APPLY, body)
        client.execute_command("CLIENT", "UNPAUSE")
    assert (refused.status_code, slug(refused)) == (503, "store-unavailable")
    assert "may have been made, all of it or nothing. Send the same" in refused.text
    checkout.post_ok(APPLY, body)
    assert checkout.post_ok(PLAN, body)["documents"] == []


def test_an_apply_is_made_if_only_something_else_changed_since_its_plan(checkout: Caller) -> None:
    body = exported(checkout)
    body["segments"][0]["included"] = ["bob"]
    plan = checkout.post_ok(PLAN, body)
    checkout.post_ok(f"{PROJECT}/segments", {"key": "other"})
    checkout.post_ok(APPLY, {**body, "plan": plan["plan"]})


def test_what_is_not_listed_stays_unless_the_import_prunes(checkout: Caller) -> None:
    checkout.post_ok(f"{PROJECT}/segments", {"key": "old"})
    body = exported(checkout)
    body["segments"] = [each for each in body["segments"] if each["key"] != "old"]
    plan = checkout.post_ok(PLAN, body)
    assert (plan["documents"], plan["kept"]) == ([], [{"kind": "segment", "key": "old"}])
    applied = checkout.post_ok(APPLY, {**body, "prune": True})
    assert actions(applied) == {("segment", "old", ""): "delete"}
    assert checkout.get(f"{PROJECT}/segments/old").status_code == 404
    assert checkout.get(f"{PROJECT}/segments/staff").status_code == 200


def test_a_member_that_is_missing_is_left_alone_by_a_prune(checkout: Caller) -> None:
    plan = checkout.post_ok(PLAN, {"segments": [], "prune": True})
    assert actions(plan) == {("segment", "staff", ""): "delete"}


def test_a_prune_says_why_something_cannot_be_deleted(checkout: Caller, release: str) -> None:
    body = {**exported(checkout), "flags": [], "environments": [], "prune": True}
    plan = checkout.post_ok(PLAN, body)
    assert "is used by release" in plan["problems"][0]["detail"]
    assert (plan["problems"][0]["kind"], plan["problems"][0]["key"]) == ("flag", "checkout")
    kept = [each["key"] for each in plan["kept"]]
    assert kept == ["development", "production"]


def test_a_flag_that_is_not_archived_is_not_pruned(checkout: Caller) -> None:
    plan = checkout.post_ok(PLAN, {"flags": [], "prune": True})
    assert "is not archived" in plan["problems"][0]["detail"]


def test_archived_is_part_of_a_flags_file(checkout: Caller, sdk: Caller) -> None:
    body = exported(checkout)
    body["flags"][0]["archived"] = True
    plan = checkout.post_ok(PLAN, body)
    assert actions(plan) == {("flag", "checkout", ""): "archive"}
    checkout.post_ok(APPLY, body)
    assert sdk.get("/sdk/v1/snapshot").json["flags"] == {}  # type: ignore[index]
    assert exported(checkout)["flags"][0]["archived"] is True
    # Restored and edited at once.
    del body["flags"][0]["archived"]
    body["flags"][0]["description"] = "Back"
    plan = checkout.post_ok(PLAN, body)
    assert actions(plan) == {("flag", "checkout", ""): "unarchive"}
    checkout.post_ok(APPLY, body)
    assert "checkout" in sdk.get("/sdk/v1/snapshot").json["flags"]  # type: ignore[index]
    assert checkout.get(f"{PROJECT}/flags/checkout").json["description"] == "Back"  # type: ignore[index]


def test_archived_flags_can_be_pruned(checkout: Caller) -> None:
    checkout.post_ok(f"{PROJECT}/flags/checkout/archive", {})
    applied = checkout.post_ok(APPLY, {"flags": [], "prune": True})
    assert applied["deleted"] == 3
    assert checkout.get(f"{PROJECT}/flags/checkout").status_code == 404


def test_an_active_release_keeps_its_rule_as_in_an_ordinary_edit(
    checkout: Caller, release: str
) -> None:
    body = exported(checkout)
    body["flags"][0]["targeting"]["production"]["default"] = {"variant": "on"}
    plan = checkout.post_ok(PLAN, body)
    pointer = "/flags/0/targeting/production/default"
    assert "the control of the active release" in problems(plan)[pointer]


def test_a_plan_names_active_releases_and_killed_flags(checkout: Caller, release: str) -> None:
    checkout.post_ok(f"{PROJECT}/flags", flag("dark"))
    checkout.post_ok(f"{PRODUCTION}/flags/dark/kill", {"reason": "too dark"})
    body = exported(checkout)
    for each in body["flags"]:
        each["description"] = "Changed"
    plan = checkout.post_ok(PLAN, body)
    [affected] = [each for each in plan["affected"] if each["environment"] == "production"]
    assert (affected["flags"], affected["killed"]) == (2, ["dark"])
    [active] = affected["releases"]
    assert (active["flag"], active["evidence_restarts"]) == ("checkout", False)
    checkout.post_ok(APPLY, body)
    assert checkout.get(f"{PRODUCTION}/flags/dark").json["killed"]  # type: ignore[index]
    assert checkout.get(release).json["state"] == active["state"]  # type: ignore[index]


def test_new_values_of_compared_variants_start_the_evidence_again(admin: Caller) -> None:
    variants = [{"key": "old", "value": "a"}, {"key": "new", "value": "b"}]
    body: dict[str, Any] = {"flags": [{"key": "text", "type": "string", "variants": variants}]}
    policy = {"key": "p", "stages": [{"percentage": 50}, {"percentage": 100}]}
    admin.post_ok(APPLY, {**body, "policies": [policy]})
    started = admin.post_ok(
        f"{PRODUCTION}/releases", {"flag": "text", "treatment": "new", "policy": "p"}
    )
    body["flags"][0]["variants"][1]["value"] = "c"
    plan = admin.post_ok(PLAN, body)
    [environment] = [each for each in plan["affected"] if each["releases"]]
    assert environment["releases"][0]["evidence_restarts"] is True
    admin.post_ok(APPLY, body)
    after = admin.get(f"{PRODUCTION}/releases/{started['id']}").json
    assert after is not None
    assert after["revision"] == started["revision"] + 1


def test_a_new_environment_comes_with_every_flag(checkout: Caller) -> None:
    body = exported(checkout)
    body["environments"].append({"key": "staging", "name": "Staging"})
    body["flags"][0]["targeting"]["staging"] = targeting(default={"variant": "on"})
    body["flags"].append(flag("other"))
    plan = checkout.post_ok(PLAN, body)
    assert plan["problems"] == []
    checkout.post_ok(APPLY, body)
    staging = f"{PROJECT}/environments/staging"
    listed = checkout.get(f"{staging}/flags").json
    assert listed is not None
    served = {each["flag"]: each["default"] for each in listed["items"]}
    assert served == {"checkout": {"variant": "on"}, "other": {"variant": "off"}}
    reader = checkout.token_for("sdk", "default", "staging")
    snapshot = reader.get("/sdk/v1/snapshot").json
    assert snapshot is not None
    assert sorted(snapshot["flags"]) == ["checkout", "other"]
    assert list(snapshot["segments"]) == ["staff"]


def test_the_path_of_a_webhook_is_not_exported_and_stays(admin: Caller) -> None:
    url = "https://hooks.example/services/T0/secret-path"
    admin.post_ok(f"{PROJECT}/webhooks", {"key": "chat", "url": url})
    body = exported(admin)
    assert body["webhooks"][0]["url"] == "https://hooks.example/…"
    assert admin.post_ok(PLAN, body)["documents"] == []
    body["webhooks"][0]["enabled"] = False
    applied = admin.post_ok(APPLY, body)
    assert "secret-path" not in str(applied)
    assert admin.get(f"{PROJECT}/webhooks/chat").json["url"] == url  # type: ignore[index]


def test_hooks_are_edited_and_keep_their_secret(checkout: Caller) -> None:
    new = {"name": "pager", "kind": "generic", "action": "kill", "environment": "production"}
    made = checkout.post_ok(f"{PROJECT}/hooks", {**new, "flags": ["checkout"]})
    body = exported(checkout)
    assert body["hooks"] == [{"id": made["id"], **new, "flags": ["checkout"]}]
    assert made["secret"] not in checkout.get(EXPORT).text
    body["hooks"][0]["action"] = "rollback"
    checkout.post_ok(APPLY, body)
    alert = {"status": "resolved", "summary": "x"}
    heard = checkout.client.post(
        made["path"], json=alert, headers={"Authorization": f"Bearer {made['secret']}"}
    )
    assert heard.status_code == 200, heard.text


def test_an_import_needs_the_permissions_of_the_edits(checkout: Caller, store: Store) -> None:
    hook = checkout.post_ok(f"{PROJECT}/hooks", HOOK)
    before = exported(checkout)
    changed: dict[str, dict[str, Any]] = {
        "environment": {"environments": [{"key": "production", "require_reason": True}]},
        "flag": {"flags": [{**before["flags"][0], "description": "x"}]},
        "targeting": {
            "flags": [{**flag("checkout"), "targeting": {"production": targeting(enabled=False)}}]
        },
        "elsewhere": {
            "flags": [{**flag("checkout"), "targeting": {"development": targeting(enabled=False)}}]
        },
        "hook": {"hooks": [{**HOOK, "id": hook["id"], "action": "kill"}]},
    }
    allowed = {
        ("release_manager", None): {"flag", "targeting", "elsewhere", "hook"},
        ("developer", None): {"flag", "targeting", "elsewhere"},
        ("developer", "production"): {"targeting"},
        ("viewer", None): set[str](),
        ("responder", None): set[str](),
        ("admin", "production"): {"targeting"},
    }
    for (role, environment), may in allowed.items():
        caller = checkout.token_for(role, "default", environment)
        for name, body in changed.items():
            if name in may:
                continue
            stored = stored_documents(store)
            refused = caller.post(APPLY, body)
            assert refused.status_code in (403, 422), (role, name, refused.text)
            assert stored_documents(store) == stored, (role, name)
        for name in may:
            answer = caller.post(APPLY, changed[name])
            assert answer.status_code == 200, (role, name, answer.text)
            checkout.post_ok(APPLY, before)


def test_who_reads_one_environment_sees_no_other(checkout: Caller) -> None:
    local = checkout.token_for("developer", "default", "production")
    body = exported(local)
    assert [each["key"] for each in body["environments"]] == ["production"]
    assert list(body["flags"][0]["targeting"]) == ["production"]
    wanted = {"flags": [{**flag("checkout"), "targeting": {"development": targeting()}}]}
    plan = local.post_ok(PLAN, wanted)
    assert problems(plan) == {
        "/flags/0/targeting/development": "You may not read environment 'development'; "
        "leave it out."
    }


def test_a_reason_is_kept_and_may_be_required(checkout: Caller) -> None:
    path = f"{PROJECT}/environments/production"
    etag = checkout.get(path).headers["ETag"]
    assert checkout.put(path, {"require_reason": True}, match=etag).status_code == 200
    body = {"segments": [{"key": "new"}]}
    assert slug(checkout.post(APPLY, body)) == "reason-required"
    headers = {"Tidegate-Reason": "from git"}
    assert checkout.post(APPLY, body, headers=headers).status_code == 200
    [entry] = checkout.get(f"{PROJECT}/audit?key=new").json["items"]  # type: ignore[index]
    assert (entry["action"], entry["reason"]) == ("configuration.apply", "from git")
    [version] = checkout.get(f"{PROJECT}/segments/new/history").json["items"]  # type: ignore[index]
    assert (version["action"], version["reason"]) == ("configuration.apply", "from git")


def test_the_audit_log_of_a_large_import_has_every_document_and_an_unbroken_chain(
    admin: Caller, store: Store
) -> None:
    body = {"segments": [{"key": f"s{number}", "included": ["ann"]} for number in range(250)]}
    admin.post_ok(APPLY, body)
    entries = store.logs.audit("default", None, 100)[0]
    parts = [each for each in entries if each.action == "configuration.apply"]
    assert [each.details["part"] for each in parts] == [3, 2, 1]
    assert {each["key"] for part in parts for each in part.documents} == {
        str(each["key"]) for each in body["segments"]
    }
    [found] = admin.get(f"{PROJECT}/audit?object=segment&key=s17").json["items"]  # type: ignore[index]
    assert found["details"]["create"] == 250
    log = store.logs.audit_chain("default")
    chained = (each.chained() for each in store.logs.audit_between("default", Period()))
    checked = verify(chained, log.head, log.anchor)
    assert checked.problem == ""


def test_a_large_import_sends_streams_to_the_snapshot(
    admin: Caller, sdk: Caller, store: Store
) -> None:
    version = store.version("default", "production")
    subscription = store.change_feed.subscribe("default", "production")
    keys = [f"user-{number:06}" for number in range(9_000)]
    segments = [{"key": f"s{number}", "included": keys} for number in range(10)]
    admin.post_ok(APPLY, {"segments": segments})
    assert store.changes("default", "production", version) is None
    update = subscription.get(5.0)
    assert update is not None
    assert (update.version, update.data) == (version + 1, None)
    snapshot = sdk.get("/sdk/v1/snapshot").json
    assert snapshot is not None
    assert len(snapshot["segments"]) == 10
    # The next change is an update again.
    admin.post_ok(f"{PROJECT}/segments", {"key": "small"})
    after = subscription.get(5.0)
    assert after is not None
    assert after.data is not None
    subscription.close()


def test_too_many_objects_are_refused(admin: Caller) -> None:
    body = {"segments": [{"key": f"s{number}"} for number in range(10_001)]}
    plan = admin.post_ok(PLAN, body)
    assert "at most 10,000" in plan["problems"][0]["detail"]


def test_a_body_that_is_too_long_is_refused(admin: Caller) -> None:
    text = '{"flags": [' + " " * (33 * 1024 * 1024) + "]}"
    refused = admin.call("POST", PLAN, data=text, headers={"Content-Type": "application/json"})
    assert refused.status_code == 413


def test_the_editor_schemas_accept_what_an_export_has(checkout: Caller) -> None:
    checkout.post_ok(f"{PROJECT}/webhooks", {"key": "chat", "url": "https://chat.example/x"})
    new = {"name": "p", "kind": "generic", "action": "kill", "environment": "production"}
    checkout.post_ok(f"{PROJECT}/hooks", {**new, "flags": ["checkout"]})
    answer = checkout.get(EXPORT).json
    assert answer is not None
    assert answer["schemas"] == editor_schemas()
    sections = {
        "environment": answer["environments"],
        "flag": answer["flags"],
        "segment": answer["segments"],
        "policy": answer["policies"],
        "webhook": answer["webhooks"],
        "hook": answer["hooks"],
        "project": [answer["project"]],
    }
    for kind, items in sections.items():
        validator = jsonschema_rs.Draft202012Validator(answer["schemas"][kind])
        assert items
        for item in items:
            assert [each.message for each in validator.iter_errors(item)] == []
            assert not validator.is_valid({**item, "misspelled": 1})
            del item[next(iter(set(answer["schemas"][kind]["required"]) & item.keys()))]
            assert not validator.is_valid(item)


def test_the_published_schemas_are_those_of_the_server() -> None:
    folder = Path(__file__).parents[2] / "docs" / "files"
    published = {
        each.name.partition(".")[0]: json.loads(each.read_text()) for each in folder.iterdir()
    }
    assert published == editor_schemas(), "run .venv/bin/python -m scripts.file_schemas"


def test_an_import_into_a_protected_environment_is_proposed_and_applied_as_a_whole(
    checkout: Caller, store: Store
) -> None:
    approver = another_person(checkout)
    protect(checkout)
    body = exported(checkout)
    body["flags"][0]["targeting"]["production"] = targeting(default={"variant": "on"})
    body["segments"].append({"key": "new"})
    plan = checkout.post_ok(PLAN, body)
    before = stored_documents(store)
    assert slug(checkout.post(APPLY, body)) == "approval-required"
    assert stored_documents(store) == before
    wanted = {**body, "plan": plan["plan"]}
    answer = checkout.post(APPLY, wanted, headers={"Tidegate-Propose": "from git"})
    assert checkout.get(f"{PROJECT}/segments/new").status_code == 404
    path = proposed(answer)
    assert approve(approver, path).status_code == 200
    etag = checkout.get(path).headers["ETag"]
    assert checkout.post(f"{path}/apply", {}, match=etag).status_code == 200
    assert checkout.get(f"{PROJECT}/segments/new").status_code == 200
    assert checkout.get(f"{PRODUCTION}/flags/checkout").json["default"] == {"variant": "on"}  # type: ignore[index]
    [entry] = checkout.get(f"{PROJECT}/audit?action=configuration.apply").json["items"]  # type: ignore[index]
    assert {each["key"] for each in entry["documents"]} >= {"new", "checkout"}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=configurations(["development", "production"]))
def test_any_project_comes_back_from_its_files(admin: Caller, wanted: dict[str, Any]) -> None:
    """Apply it, export it, write it as YAML, read that, and import it: nothing changes."""
    archived = [each["key"] for each in exported(admin)["flags"]]
    for key in archived:
        admin.post(f"{PROJECT}/flags/{key}/archive", {})
    admin.post_ok(
        APPLY, {"flags": [], "segments": [], "policies": [], "webhooks": [], "prune": True}
    )
    plan = admin.post_ok(PLAN, wanted)
    assert plan["problems"] == []
    admin.post_ok(APPLY, wanted)
    body = exported(admin)
    for section, kind in SECTIONS.items():
        again = []
        validator = jsonschema_rs.Draft202012Validator(editor_schemas()[kind])
        for item in body[section]:
            text = file_text(ObjectPlace(section, item.get("key", "")), item)
            assert [each.message for each in validator.iter_errors(item)] == []
            again.append(parse_yaml(text, "It"))
        assert repr(again) == repr(body[section])
        body[section] = again
    assert admin.post_ok(PLAN, {**body, "prune": True})["documents"] == []
    wanted["webhooks"] = body["webhooks"]  # without the paths of their URLs
    assert admin.post_ok(PLAN, {**wanted, "prune": True})["documents"] == []
