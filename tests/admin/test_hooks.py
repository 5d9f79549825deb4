"""An alert does what its hook is for, to the hook's flags, and nothing else."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient
from structlog.testing import capture_logs
from tidegate_server.admin.hooks import service
from tidegate_server.store import Store
from werkzeug.test import TestResponse

from tests.admin.alert_payloads import alertmanager, datadog, generic, grafana
from tests.http_calls import (
    PRODUCTION,
    PROJECT,
    Caller,
    pointers,
    raw_contents,
    slug,
    stored_documents,
)
from tests.people import join

HOOKS = f"{PROJECT}/hooks"
HOOK = {
    "name": "checkout errors",
    "kind": "alertmanager",
    "action": "hold",
    "environment": "production",
    "flags": ["checkout"],
}


class Monitoring:
    """A monitoring system that knows a hook's path and secret."""

    def __init__(self, client: FlaskClient, created: dict[str, Any]) -> None:
        self.client = client
        self.id: str = created["id"]
        self.path: str = created["path"]
        self.secret: str = created["secret"]

    def post(self, alert: Any, *, secret: str | None = None, **more: Any) -> TestResponse:
        headers = {"Authorization": f"Bearer {self.secret if secret is None else secret}"}
        return self.client.post(self.path, json=alert, headers=headers, **more)

    def outcomes(self, alert: Any) -> list[tuple[str, bool, str]]:
        """Send an alert, and return each flag, whether it changed, and the outcome."""
        response = self.post(alert)
        assert response.status_code == 200, response.text
        assert response.json is not None
        return [(each["flag"], each["done"], each["outcome"]) for each in response.json["outcomes"]]


def hook(by: Caller, **changes: Any) -> Monitoring:
    return Monitoring(by.client, by.post_ok(HOOKS, {**HOOK, **changes}))


def state(by: Caller, release: str) -> str:
    found = by.get(release).json
    assert found is not None
    return str(found["state"])


class TestAdministration:
    def test_a_hook_is_created_read_replaced_and_deleted(self, checkout: Caller) -> None:
        created = checkout.post_ok(HOOKS, HOOK)
        one = f"{HOOKS}/{created['id']}"
        assert created["secret"].startswith("tgh_")
        assert created["path"] == f"/api/v1/hooks/{created['id']}"
        shown = checkout.get(one).json
        assert shown == {key: value for key, value in created.items() if key != "secret"}
        assert "digest" not in shown

        changed = checkout.put(one, {**HOOK, "action": "kill"}, match='"1"')
        assert changed.json is not None
        assert (changed.json["action"], changed.json["revision"]) == ("kill", 2)
        assert (changed.json["id"], changed.json["created_by"]) == (
            created["id"],
            created["created_by"],
        )
        assert checkout.get(HOOKS).json == {"items": [changed.json], "next_cursor": None}
        assert checkout.delete(one, match='"2"').status_code == 204
        assert checkout.get(one).status_code == 404

    def test_the_secret_is_shown_once_and_not_stored(
        self, checkout: Caller, release: str, raw: redis.Redis
    ) -> None:
        with capture_logs() as logs:
            monitoring = hook(checkout)
            monitoring.post(alertmanager())
            monitoring.post(alertmanager(), secret="tgh_wrong")
        one = f"{HOOKS}/{monitoring.id}"
        shown_texts = "".join(checkout.get(path).text for path in (HOOKS, one, f"{PROJECT}/audit"))
        for secret in (monitoring.secret, monitoring.secret.removeprefix("tgh_"), "tgh_wrong"):
            assert secret not in shown_texts
            assert secret not in raw_contents(raw)
            assert secret not in repr(logs)
        assert monitoring.id in shown_texts

    @pytest.mark.parametrize(
        ("changes", "pointer"),
        [
            ({"flags": []}, "/flags"),
            ({"flags": ["checkout", "nothing"]}, "/flags/1"),
            ({"flags": ["checkout", "checkout"]}, "/flags/1"),
            ({"environment": "nowhere"}, "/environment"),
            ({"kind": "nagios"}, "/kind"),
            ({"action": "advance"}, "/action"),
            ({"name": ""}, "/name"),
            ({"secret": "mine"}, "/secret"),
        ],
    )
    def test_an_invalid_hook_is_refused(
        self, checkout: Caller, changes: dict[str, Any], pointer: str
    ) -> None:
        assert pointers(checkout.post(HOOKS, {**HOOK, **changes})) == [pointer]

    def test_readers_and_environment_tokens_cannot_create_hooks(self, checkout: Caller) -> None:
        for role, environment in (("reader", None), ("writer", "production")):
            someone = checkout.token_for(role, "default", environment)
            assert slug(someone.post(HOOKS, HOOK)) == "forbidden"
            assert someone.get(HOOKS).status_code == 200

    def test_who_may_not_kill_lets_no_hook_do_it(self, checkout: Caller) -> None:
        developer = checkout.token_for("developer", "default", None)
        for action in ("hold", "rollback", "kill"):
            refused = developer.post(HOOKS, {**HOOK, "action": action})
            assert slug(refused) == "forbidden"
            assert "the permission kill" in refused.text
        path = f"{HOOKS}/{hook(checkout).id}"
        match = checkout.get(path).headers["ETag"]
        assert checkout.put(path, {**HOOK, "enabled": False}, match=match).status_code == 200
        match = developer.get(path).headers["ETag"]
        assert slug(developer.put(path, HOOK, match=match)) == "forbidden"
        assert slug(developer.post(f"{path}/history/1/restore", {}, match=match)) == "forbidden"
        operation = {"method": "POST", "path": HOOKS, "body": HOOK}
        proposal = {"reason": "alerts", "operations": [operation]}
        assert slug(developer.post(f"{PROJECT}/change-requests", proposal)) == "forbidden"
        settings = "/p/default/settings/hooks"
        for page in (settings, f"{settings}/{path.rpartition('/')[2]}"):
            assert "btn primary" in checkout.get(page).text
            assert "btn primary" not in developer.get(page).text
        assert developer.delete(path, match=match).status_code == 204

    def test_who_may_kill_in_one_environment_makes_hooks_there(self, checkout: Caller) -> None:
        roles = [
            {"role": "developer", "project": "default"},
            {"role": "responder", "project": "default", "environment": "development"},
        ]
        ada = join(checkout.client.application, checkout, "ada@example.com", *roles)
        assert slug(ada.post(HOOKS, HOOK)) == "forbidden"
        ada.post_ok(HOOKS, {**HOOK, "environment": "development"})


class TestActing:
    def test_hold_pauses_until_a_person_resumes(self, checkout: Caller, release: str) -> None:
        monitoring = hook(checkout)
        assert monitoring.outcomes(alertmanager()) == [
            ("checkout", True, "Paused until a person resumes it.")
        ]
        found = checkout.get(release).json
        assert found is not None
        assert (found["state"], found["stopped"]) == ("paused", False)
        assert found["reason"].startswith("Alert: CheckoutErrors: checkout answers 5 %")
        assert checkout.post(f"{release}/resume").status_code == 200

    def test_rollback_rolls_the_release_back(self, checkout: Caller, release: str) -> None:
        monitoring = hook(checkout, action="rollback", kind="grafana")
        assert monitoring.outcomes(grafana()) == [
            ("checkout", True, "Rolled back: everyone has the control.")
        ]
        assert state(checkout, release) == "rolled_back"

    def test_kill_kills_the_flag(self, checkout: Caller, release: str) -> None:
        monitoring = hook(checkout, action="kill", kind="datadog")
        assert monitoring.outcomes(datadog()) == [
            ("checkout", True, "Killed until a person restores it.")
        ]
        assert state(checkout, release) == "killed"
        targeting = checkout.get(f"{PRODUCTION}/flags/checkout").json
        assert targeting is not None
        assert targeting["killed"]["actor"] == f"hook checkout errors ({monitoring.id})"

    def test_kill_needs_no_release(self, checkout: Caller) -> None:
        monitoring = hook(checkout, action="kill", kind="generic")
        assert monitoring.outcomes(generic())[0][1] is True

    @pytest.mark.parametrize(
        ("action", "verb"),
        [("hold", "release.pause"), ("rollback", "release.rollback"), ("kill", "flag.kill")],
    )
    def test_the_audit_log_names_the_hook_and_the_alert(
        self, checkout: Caller, release: str, store: Store, action: str, verb: str
    ) -> None:
        monitoring = hook(checkout, action=action)
        monitoring.post(alertmanager(summary="too many errors"))
        entry = store.logs.audit("default")[0][0]
        assert (entry.action, entry.environment) == (verb, "production")
        assert entry.actor == f"hook checkout errors ({monitoring.id})"
        assert entry.reason == "Alert: CheckoutErrors: too many errors"

    @pytest.mark.parametrize("action", ["hold", "rollback", "kill"])
    def test_only_a_firing_alert_acts(
        self, checkout: Caller, release: str, store: Store, action: str
    ) -> None:
        monitoring = hook(checkout, action=action)
        before = stored_documents(store)
        response = monitoring.post(alertmanager("resolved"))
        assert response.json is not None
        assert (response.status_code, response.json["status"]) == (200, "resolved")
        assert not response.json["outcomes"][0]["done"]
        assert stored_documents(store) == before

    def test_a_disabled_hook_reads_the_alert_and_does_nothing(
        self, checkout: Caller, release: str, store: Store
    ) -> None:
        monitoring = hook(checkout, enabled=False)
        before = stored_documents(store)
        assert monitoring.outcomes(alertmanager()) == [("checkout", False, "The hook is disabled.")]
        assert stored_documents(store) == before

    def test_a_hook_acts_only_on_its_flags_in_its_environment(
        self, checkout: Caller, release: str, store: Store
    ) -> None:
        for key in ("search", "banner"):
            checkout.post_ok(f"{PROJECT}/flags", {"key": key, "type": "boolean"})
        monitoring = hook(checkout, action="kill", flags=["search", "checkout"])
        before = stored_documents(store)
        assert [flag for flag, done, _ in monitoring.outcomes(alertmanager()) if done] == [
            "search",
            "checkout",
        ]
        after = stored_documents(store)
        changed = {name for name in after if after[name] != before.get(name)}
        assert changed == {
            "default/production",
            "default/production/targeting/search",
            "default/production/targeting/checkout",
            f"default/production/release/{release.rpartition('/')[2]}",
            "default/audit",
        }

    def test_the_outcome_names_a_deleted_flag_and_one_without_a_release(
        self, checkout: Caller, store: Store
    ) -> None:
        checkout.post_ok(f"{PROJECT}/flags", {"key": "search", "type": "boolean"})
        monitoring = hook(checkout, flags=["search", "checkout"])
        assert checkout.delete(f"{PROJECT}/flags/search?force=true", match="*").status_code == 204
        before = stored_documents(store)
        gone, idle = monitoring.outcomes(alertmanager())
        assert gone[:2] == ("search", False)
        assert "There is no flag 'search'" in gone[2]
        assert idle == ("checkout", False, "The flag has no active release.")
        assert stored_documents(store) == before

    def test_a_full_stop_prevents_a_rollback_by_an_alert(
        self, checkout: Caller, release: str
    ) -> None:
        monitoring = hook(checkout, action="rollback")
        checkout.post_ok(f"{release}/pause", {"stop": True})
        ((flag, done, outcome),) = monitoring.outcomes(alertmanager())
        assert (flag, done) == ("checkout", False)
        assert "under a full stop" in outcome
        assert state(checkout, release) == "paused"

    def test_a_paused_release_can_be_rolled_back_by_an_alert(
        self, checkout: Caller, release: str
    ) -> None:
        monitoring = hook(checkout, action="rollback")
        checkout.post_ok(f"{release}/pause", {})
        assert monitoring.outcomes(alertmanager())[0][1] is True

    def test_a_killed_flag_is_neither_held_nor_rolled_back(
        self, checkout: Caller, release: str
    ) -> None:
        checkout.post_ok(f"{PRODUCTION}/flags/checkout/kill", {})
        for action in ("hold", "rollback"):
            assert hook(checkout, action=action).outcomes(alertmanager())[0][1] is False
        assert state(checkout, release) == "killed"


class TestRepeats:
    @pytest.mark.parametrize("action", ["hold", "rollback", "kill"])
    def test_an_alert_that_is_sent_again_does_nothing(
        self, checkout: Caller, release: str, store: Store, action: str
    ) -> None:
        monitoring = hook(checkout, action=action)
        assert monitoring.outcomes(alertmanager())[0][1] is True
        before = stored_documents(store)
        assert monitoring.outcomes(alertmanager())[0][1] is False
        assert stored_documents(store) == before

    @pytest.mark.parametrize("kind", ["generic", "alertmanager"])
    def test_a_resumed_release_is_not_held_by_the_same_alert(
        self, checkout: Caller, release: str, kind: str
    ) -> None:
        monitoring = hook(checkout, kind=kind)
        alert = alertmanager() if kind == "alertmanager" else generic(id="queue-7")
        monitoring.outcomes(alert)
        checkout.post_ok(f"{release}/resume", {})
        assert monitoring.outcomes(alert) == [
            ("checkout", False, "The hook has already acted on this alert.")
        ]
        assert state(checkout, release) == "running"

    def test_a_restored_flag_is_not_killed_by_the_same_alert(self, checkout: Caller) -> None:
        monitoring = hook(checkout, action="kill")
        monitoring.outcomes(alertmanager())
        checkout.post_ok(f"{PRODUCTION}/flags/checkout/restore", {})
        assert monitoring.outcomes(alertmanager())[0][1] is False
        again = alertmanager(began="2026-09-22T08:00:00Z")
        assert monitoring.outcomes(again)[0][1] is True

    def test_a_release_that_was_already_paused_is_not_held_after_it_is_resumed(
        self, checkout: Caller, release: str
    ) -> None:
        monitoring = hook(checkout)
        checkout.post_ok(f"{release}/pause", {})
        assert monitoring.outcomes(alertmanager())[0][1] is False
        checkout.post_ok(f"{release}/resume", {})
        assert monitoring.outcomes(alertmanager())[0][1] is False
        assert state(checkout, release) == "running"

    def test_a_draft_is_held_after_it_begins(self, checkout: Caller) -> None:
        monitoring = hook(checkout)
        body = {"flag": "checkout", "treatment": "on", "policy": "careful", "draft": True}
        draft = f"{PRODUCTION}/releases/{checkout.post_ok(f'{PRODUCTION}/releases', body)['id']}"
        assert monitoring.outcomes(alertmanager())[0][1] is False
        checkout.post_ok(f"{draft}/begin", {})
        assert monitoring.outcomes(alertmanager())[0][1] is True
        assert state(checkout, draft) == "paused"

    def test_a_new_alert_and_a_new_release_are_acted_on(
        self, checkout: Caller, release: str
    ) -> None:
        monitoring = hook(checkout)
        monitoring.outcomes(alertmanager())
        checkout.post_ok(f"{release}/resume", {})
        assert monitoring.outcomes(alertmanager(began="2026-09-22T08:00:00Z"))[0][1] is True

        checkout.post_ok(f"{release}/rollback", {})
        body = {"flag": "checkout", "treatment": "on", "policy": "careful"}
        checkout.post_ok(f"{PRODUCTION}/releases", body)
        assert monitoring.outcomes(alertmanager())[0][1] is True

    def test_a_new_alert_in_the_group_is_acted_on(self, checkout: Caller, release: str) -> None:
        monitoring = hook(checkout)
        monitoring.outcomes(alertmanager())
        checkout.post_ok(f"{release}/resume", {})
        other = {**alertmanager()["alerts"][0], "fingerprint": "another"}
        assert monitoring.outcomes(alertmanager(more=(other,)))[0][1] is True

    def test_an_alert_without_an_episode_acts_each_time(
        self, checkout: Caller, release: str
    ) -> None:
        monitoring = hook(checkout, kind="generic")
        monitoring.outcomes(generic())
        checkout.post_ok(f"{release}/resume", {})
        assert monitoring.outcomes(generic())[0][1] is True


class TestAuthentication:
    def test_basic_authentication_works(self, checkout: Caller, release: str) -> None:
        monitoring = hook(checkout)
        basic = base64.b64encode(f"anyone:{monitoring.secret}".encode()).decode()
        response = checkout.client.post(
            monitoring.path, json=alertmanager(), headers={"Authorization": f"Basic {basic}"}
        )
        assert response.status_code == 200
        assert state(checkout, release) == "paused"

    @pytest.mark.parametrize(
        "header",
        [
            None,
            "Bearer",
            "Bearer ",
            "Bearer wrong",
            "Basic !!!",
            "Basic d3Jvbmc6d3Jvbmc=",
            "Digest username=x",
            "Bearer \x80\xff",
        ],
    )
    def test_a_call_without_the_secret_is_refused(
        self, checkout: Caller, release: str, store: Store, header: str | None
    ) -> None:
        monitoring = hook(checkout, action="kill")
        before = stored_documents(store)
        headers = {} if header is None else {"Authorization": header}
        refused = checkout.client.post(monitoring.path, json=alertmanager(), headers=headers)
        assert (refused.status_code, slug(refused)) == (401, "unauthenticated")
        assert stored_documents(store) == before

    def test_the_secret_of_another_hook_and_a_token_are_refused(
        self, checkout: Caller, release: str, store: Store
    ) -> None:
        monitoring, other = hook(checkout, action="kill"), hook(checkout)
        before = stored_documents(store)
        for wrong in (other.secret, checkout.token or "", monitoring.id, ""):
            assert monitoring.post(alertmanager(), secret=wrong).status_code == 401
        assert (
            checkout.client.post(f"{monitoring.path}?token={monitoring.secret}").status_code == 401
        )
        assert stored_documents(store) == before

    def test_the_secret_of_a_hook_works_nowhere_else(self, checkout: Caller) -> None:
        monitoring = hook(checkout)
        with_secret = Caller(checkout.client, monitoring.secret)
        for method, path in (
            ("GET", HOOKS),
            ("POST", f"{PRODUCTION}/flags/checkout/kill"),
            ("GET", "/sdk/v1/snapshot"),
            ("GET", "/metrics"),
            ("DELETE", f"{HOOKS}/{monitoring.id}"),
        ):
            assert with_secret.call(method, path).status_code == 401, path

    def test_unknown_and_deleted_hooks_are_not_found(self, checkout: Caller) -> None:
        monitoring = hook(checkout)
        checkout.delete(f"{HOOKS}/{monitoring.id}", match="*")
        assert monitoring.post(alertmanager()).status_code == 404
        assert checkout.client.post("/api/v1/hooks/hook_0123456789ab").status_code == 404

    def test_the_secret_is_checked_before_the_body_is_read(self, checkout: Caller) -> None:
        monitoring = hook(checkout)
        refused = checkout.client.post(
            monitoring.path, data=b"{" * 100, content_type="application/json"
        )
        assert refused.status_code == 401

    @pytest.mark.parametrize(
        ("data", "kind", "status"),
        [
            (b"{", "application/json", 400),
            (b"[]", "application/json", 422),
            (b"{}", "application/json", 422),
            (b"status=firing", "application/x-www-form-urlencoded", 415),
            (b'{"a":"' + b"x" * 1_100_000 + b'"}', "application/json", 413),
        ],
    )
    def test_an_invalid_body_is_refused(
        self, checkout: Caller, data: bytes, kind: str, status: int
    ) -> None:
        monitoring = hook(checkout)
        headers = {"Authorization": f"Bearer {monitoring.secret}"}
        refused = checkout.client.post(
            monitoring.path, data=data, content_type=kind, headers=headers
        )
        assert refused.status_code == status, refused.text

    def test_a_hook_that_is_called_too_often_asks_to_retry_later(
        self, checkout: Caller, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(service, "CALL_LIMIT", 3)
        monitoring, other = hook(checkout), hook(checkout)
        answers = [monitoring.post(alertmanager()).status_code for _ in range(4)]
        assert answers == [200, 200, 200, 503]
        refused = monitoring.post(alertmanager())
        assert slug(refused) == "too-many-alerts"
        assert int(refused.headers["Retry-After"]) > 0
        # Calls with a wrong secret do not count.
        for _ in range(5):
            other.post(alertmanager(), secret="wrong")
        assert other.post(alertmanager()).status_code == 200
