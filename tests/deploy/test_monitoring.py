"""The alert rules and the Grafana dashboard, against what a server says of itself."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml

from tests.cli.conftest import RunningServer

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "alerts.yaml"
DASHBOARD = DEPLOY / "grafana" / "tidegate.json"
METRIC = re.compile(r"tidegate_[a-z_]+")
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool")


@pytest.fixture(scope="module")
def metrics(server: RunningServer) -> str:
    """What a server with two processes says, after requests of several kinds."""
    headers = {"Authorization": f"Bearer {server.token}"}
    for path in ("/health/live", "/api/v1/projects", "/nowhere", "/metrics"):
        text = urllib3.request("GET", server.url + path, headers=headers, retries=False)
    return text.data.decode()


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return loaded


def queries() -> list[str]:
    return [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def families(text: str) -> set[str]:
    """Return the names of metrics, with the endings that samples have."""
    names: set[str] = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
        endings = ("_bucket", "_count", "_sum") if kind == "histogram" else ("",)
        names |= {name + ending for ending in endings}
    return names


@needs_promtool
def test_promtool_accepts_the_metrics_of_a_running_server(metrics: str) -> None:
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=metrics, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


@needs_promtool
def test_promtool_accepts_the_alert_rules() -> None:
    checked = subprocess.run(
        ["promtool", "check", "rules", str(RULES)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_alerts_and_panels_use_metrics_that_exist(metrics: str) -> None:
    used = {name for text in (*queries(), *(each["expr"] for each in alerts()))
            for name in METRIC.findall(text)}  # fmt: skip
    assert used - families(metrics) == set()
    assert len(used) > 20


def test_every_alert_says_what_it_means_and_how_bad_it_is() -> None:
    for alert in alerts():
        assert alert["labels"]["severity"] in ("critical", "warning", "info"), alert
        assert alert["annotations"]["summary"], alert
        assert alert["annotations"]["description"], alert


@needs_promtool
def test_prometheus_accepts_the_queries_of_the_dashboard(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": re.sub(r"\$\w+", "5m", query)}
        for number, query in enumerate(queries())
    ]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    checked = subprocess.run(
        ["promtool", "check", "rules", "--lint=none", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_dashboard_has_what_grafana_needs() -> None:
    found = dashboard()
    panels = found["panels"]
    assert found["uid"] == "tidegate"
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(places)
    variables = {each["name"] for each in found["templating"]["list"]}
    for panel in panels:
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["title"]
        named = set(re.findall(r"\$(\w+)", json.dumps(panel["targets"]))) - {"__rate_interval"}
        assert named <= variables


def test_requests_of_all_processes_are_counted_by_part_and_class(metrics: str) -> None:
    for part, status in (("api", "2xx"), ("health", "2xx"), ("pages", "4xx")):
        sample = f'tidegate_http_request_duration_seconds_count{{part="{part}",status="{status}"}}'
        assert sample in metrics
    assert "nowhere" not in metrics
