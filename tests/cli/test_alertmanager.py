"""An alert from a real Alertmanager pauses a release and notifies a webhook."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import urllib3

from examples.shop.processes import Processes, free_port
from tests.cli.calls import Tidegate
from tests.cli.conftest import RunningServer
from tests.receiver import receiver
from tests.waiting import ready

PROGRAM = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")

CONFIGURATION = """
route: {{receiver: tidegate, group_wait: 100ms, group_interval: 1s, repeat_interval: 1s}}
receivers:
  - name: tidegate
    webhook_configs:
      - url: {url}
        send_resolved: true
        max_alerts: 50
        http_config:
          authorization:
            credentials_file: {secret}
"""

ALERT = {
    "labels": {"alertname": "CheckoutErrors", "service": "shop"},
    "annotations": {"summary": "checkout answers 5 % of requests with errors"},
}

POLICY = {
    "key": "notifying",
    "stages": [{"percentage": 5}, {"percentage": 100}],
    "notify": [{"webhook": "ops"}],
}


@pytest.mark.skipif(PROGRAM is None, reason="Alertmanager is not installed")
def test_an_alert_from_alertmanager_pauses_a_release(
    checkout: Tidegate, server: RunningServer, tmp_path: Path
) -> None:
    with receiver() as ops:
        checkout.ok("webhook", "create", "ops", ops.url)
        policy = tmp_path / "notifying.json"
        policy.write_text(json.dumps(POLICY))
        checkout.ok("policy", "put", str(policy))
        checkout.ok("flag", "enable", "checkout")
        release = checkout.json(
            "release", "start", "checkout", "--treatment", "on", "--policy", "notifying"
        )["id"]
        made = checkout.json(
            *("hook", "create", "checkout errors", "--kind", "alertmanager"),
            *("--action", "hold", "--flag", "checkout"),
        )
        processes = Processes(tmp_path)
        try:
            manager = start_alertmanager(processes, tmp_path, server.url + made["path"], made)
            fire(manager)
            processes.wait_for(
                "the release is paused",
                lambda: checkout.json("release", "show", release)["state"] == "paused",
            )
            started, paused = ops.wait_for(2)
            assert started.json["event"] == "started"
            assert paused.json["event"] == "paused"
            assert paused.json["actor"] == f"hook checkout errors ({made['id']})"
            assert paused.json["reason"] == (
                "Alert: CheckoutErrors: checkout answers 5 % of requests with errors"
            )

            # Alertmanager repeats the alert every second; the user's resume still stands.
            checkout.ok("release", "resume", release)
            posted = notified(manager)
            processes.wait_for("it is repeated", lambda: notified(manager) > posted + 1)
            assert notified(manager, "failed_") == 0
            assert checkout.json("release", "show", release)["state"] == "running"
        finally:
            processes.stop()


def start_alertmanager(processes: Processes, folder: Path, url: str, made: dict[str, Any]) -> str:
    """Start an Alertmanager that posts to a hook; returns its address."""
    secret = folder / "hook.secret"
    secret.write_text(made["secret"])
    configuration = folder / "alertmanager.yml"
    configuration.write_text(CONFIGURATION.format(url=url, secret=secret))
    port = free_port()
    processes.start(
        "alertmanager",
        [
            str(PROGRAM),
            f"--config.file={configuration}",
            f"--storage.path={folder / 'alertmanager'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
        ],
        {},
    )
    manager = f"http://127.0.0.1:{port}"
    processes.wait_for("Alertmanager is ready", lambda: ready(manager))
    return manager


def fire(manager: str) -> None:
    """Fire an alert, as Prometheus does."""
    answer = urllib3.request("POST", f"{manager}/api/v2/alerts", json=[ALERT])
    assert answer.status == 200, answer.data


def notified(manager: str, which: str = "") -> float:
    """Return how often Alertmanager has posted, or with ``failed_`` has failed to."""
    name = f'alertmanager_notifications_{which}total{{integration="webhook"}} '
    lines = urllib3.request("GET", f"{manager}/metrics").data.decode().splitlines()
    return next(float(line.removeprefix(name)) for line in lines if line.startswith(name))
