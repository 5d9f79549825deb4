"""Health, metrics and the OpenAPI document."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families
from tidegate_server.application import create_app
from tidegate_server.policy_job.loop import PolicyJob
from tidegate_server.store import Store
from tidegate_server.store.embedded import EmbeddedValkey
from tidegate_server.web.settings import ApiSettings

from tests.http_application import SECRET_KEY
from tests.http_calls import POLICY, PRODUCTION, PROJECT, Caller, slug
from tests.sdk_api.test_routes import report
from tests.waiting import until


def test_a_running_process_is_live_and_ready(client: FlaskClient) -> None:
    assert client.get("/health/live").json == {"status": "live"}
    assert client.get("/health/ready").json == {
        "status": "ready",
        "store": "reachable",
        "durability": "disk",
    }


def test_a_process_without_its_store_is_live_but_not_ready() -> None:
    with tempfile.TemporaryDirectory(prefix="tg-gone-") as folder:
        server = EmbeddedValkey(Path(folder))
        server.start()
        try:
            store = Store.connect(server.url)
            client = create_app(store, ApiSettings(SECRET_KEY)).test_client()
            assert client.get("/health/ready").status_code == 200
        finally:
            server.stop()
        gone = client.get("/health/ready")
        assert (gone.status_code, slug(gone)) == (503, "store-unavailable")
        assert gone.headers["Retry-After"] == "1"
        assert client.get("/health/live").status_code == 200
        closed = Caller(client, "an-admin-token-for-tests").get("/api/v1/projects")
        assert (closed.status_code, slug(closed)) == (503, "store-unavailable")
        store.close()


def gauges(caller: Caller) -> dict[str, list[tuple[dict[str, str], float]]]:
    response = caller.get("/metrics")
    assert response.status_code == 200
    assert response.mimetype == "text/plain"
    metrics: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(response.text):
        metrics[family.name] = [(sample.labels, sample.value) for sample in family.samples]
    return metrics


def test_metrics_describe_instances_kills_and_releases(
    checkout: Caller, release: str, sdk: Caller, store: Store
) -> None:
    trips = [{"release": "rel_unknown", "count": 1, "milliseconds": 1}]
    sdk.post_ok("/sdk/v1/reports", report(trips=trips))
    checkout.post_ok(f"{PRODUCTION}/flags/checkout/kill", {})
    metrics = gauges(checkout)
    production = {"project": "default", "environment": "production"}
    assert (production, float(store.version("default", "production"))) in metrics[
        "tidegate_environment_version"
    ]
    assert (production, 1.0) in metrics["tidegate_instances_live"]
    assert (production, 1.0) in metrics["tidegate_instances_outdated"]
    assert (production, 1.0) in metrics["tidegate_report_entries_ignored"]
    assert metrics["tidegate_kill_in_force"] == [({**production, "flag": "checkout"}, 1.0)]
    ((labels, percentage),) = metrics["tidegate_release_percentage"]
    assert (labels["state"], labels["stage"], percentage) == ("killed", "1", 0.0)


def test_metrics_say_how_long_a_release_should_have_been_evaluated(
    checkout: Caller, release: str, store: Store
) -> None:
    """So one learns that no policy job runs, which would roll back."""

    def overdue() -> float:
        ((labels, value),) = gauges(checkout)["tidegate_release_overdue_seconds"]
        assert labels["flag"] == "checkout"
        return value

    until(lambda: overdue() > 0.0)
    before = overdue()
    until(lambda: overdue() > before)
    checkout.post_ok(f"{PRODUCTION}/flags/checkout/kill", {})
    until(lambda: overdue() == 0.0, "nothing is decided about a killed flag")
    checkout.post_ok(f"{PRODUCTION}/flags/checkout/restore", {})
    until(lambda: overdue() > 0.0)
    job = PolicyJob(store, "a")

    def is_evaluated() -> bool:
        job.tick()
        return overdue() == 0.0

    until(is_evaluated)


def test_a_release_is_not_overdue_before_its_first_evaluation(
    checkout: Caller, store: Store
) -> None:
    """It is due after an interval; an alert in between would be a false one."""
    slow = {**POLICY, "key": "slow", "interval": "1h", "bake": "1h", "no_data": {"after": "1h"}}
    checkout.post_ok(f"{PROJECT}/policies", slow)
    body = {"flag": "checkout", "treatment": "on", "policy": "slow"}
    checkout.post_ok(f"{PRODUCTION}/releases", body)
    PolicyJob(store, "a").tick()
    ((_, value),) = gauges(checkout)["tidegate_release_overdue_seconds"]
    assert value == 0.0


def test_metrics_count_waiting_webhook_messages(checkout: Caller) -> None:
    for key in ("ops", "chat"):
        webhook = {"key": key, "url": "https://ops.example.com/"}
        checkout.post_ok("/api/v1/projects/default/webhooks", webhook)
    checkout.post("/api/v1/projects/default/webhooks/ops/test")
    waiting = [
        ({"project": "default", "webhook": "chat"}, 0.0),
        ({"project": "default", "webhook": "ops"}, 1.0),
    ]
    name = "tidegate_webhook_messages_waiting"
    metrics = gauges(checkout)[name]
    assert sorted(metrics, key=lambda sample: sample[1]) == waiting
    checkout.post_ok("/api/v1/projects", {"key": "web"})
    assert gauges(checkout.token_for("reader", "web", None)).get(name, []) == []


def test_metrics_are_limited_to_the_tokens_scope(checkout: Caller, client: FlaskClient) -> None:
    assert client.get("/metrics").status_code == 401
    local = checkout.token_for("reader", "default", "development")
    (shown,) = gauges(local)["tidegate_environment_version"]
    assert shown[0] == {"project": "default", "environment": "development"}


def test_every_route_is_documented(app: Flask, client: FlaskClient) -> None:
    response = client.get("/openapi.json")
    document = json.loads(response.data)
    assert document["openapi"] == "3.1.0"
    served = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method)
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule != "/openapi.json" and not rule.endpoint.startswith("dashboard.")
    }
    documented = {
        (path, method.upper())
        for path, operations in document["paths"].items()
        for method in operations
        if method != "parameters"
    }
    # A policy may have the name of an action as its key, so both share a path.
    policies = "/api/v1/projects/{project}/policies"
    shared = {
        (f"{policies}/{action}", method)
        for action in ("simulate", "backtest")
        for method in ("GET", "PUT", "DELETE")
    }
    # So do a release and the preview of one.
    releases = "/api/v1/projects/{project}/environments/{environment}/releases"
    shared.add((f"{releases}/preview", "GET"))
    # So do the code of a device and the question for its token.
    shared.add(("/api/v1/device-sign-ins/token", "GET"))
    assert documented == served | shared
    again = client.get("/openapi.json", headers={"If-None-Match": response.headers["ETag"]})
    assert again.status_code == 304


def test_conditions_are_one_recursive_schema(client: FlaskClient) -> None:
    document = json.loads(client.get("/openapi.json").data)
    schemas = document["components"]["schemas"]
    assert schemas["Rule"]["properties"]["when"] == {"$ref": "#/components/schemas/Condition"}
    groups = schemas["Condition"]["anyOf"][2:]
    for group in groups:
        (name,) = group["required"]
        assert group["properties"][name]["items"] == {"$ref": "#/components/schemas/Condition"}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_accepts_the_metrics(checkout: Caller, sdk: Caller, release: str) -> None:
    response = checkout.get("/metrics")
    checked = subprocess.run(
        ["promtool", "check", "metrics"],
        input=response.data,
        capture_output=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
