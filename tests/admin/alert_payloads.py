"""Alerts with the fields that each monitoring system sends."""

from __future__ import annotations

from typing import Any

NO_END = "0001-01-01T00:00:00Z"


def alertmanager(
    status: str = "firing",
    *,
    name: str = "CheckoutErrors",
    began: str = "2026-09-21T14:13:20.25Z",
    fingerprint: str = "1a30ba71cca2921f",
    summary: str = "checkout answers 5 % of requests with errors",
    more: tuple[dict[str, Any], ...] = (),
) -> dict[str, Any]:
    """Alertmanager's webhook, version 4."""
    labels = {"alertname": name, "service": "shop", "severity": "critical"}
    return {
        "receiver": "tidegate",
        "status": status,
        "alerts": [
            {
                "status": status,
                "labels": labels,
                "annotations": {"summary": summary},
                "startsAt": began,
                "endsAt": NO_END if status == "firing" else "2026-09-21T15:00:00Z",
                "generatorURL": "http://prometheus.example.com:9090/graph?g0.expr=up",
                "fingerprint": fingerprint,
            },
            *more,
        ],
        "groupLabels": {"alertname": name},
        "commonLabels": labels,
        "commonAnnotations": {"summary": summary},
        "externalURL": "http://alertmanager.example.com:9093",
        "version": "4",
        "groupKey": f'{{}}:{{alertname="{name}"}}',
        "truncatedAlerts": 0,
    }


def grafana(status: str = "firing") -> dict[str, Any]:
    """Grafana's webhook contact point."""
    group = alertmanager(status, name="High error rate", fingerprint="c6eadffa33fcdf37")
    for alert in group["alerts"]:
        alert |= {
            "values": {"B": 44.23943737541908, "C": 1},
            "silenceURL": "https://grafana.example.com/alerting/silence/new?alertmanager=grafana",
            "dashboardURL": "",
            "panelURL": "",
        }
    return {
        **group,
        "version": "1",
        "orgId": 1,
        "title": "[FIRING:1] High error rate (shop)",
        "state": "alerting" if status == "firing" else "ok",
        "message": "**Firing**",
    }


def legacy_grafana(state: str = "alerting") -> dict[str, Any]:
    """Grafana's dashboard alerts, which versions before 11 could still send."""
    return {
        "dashboardId": 1,
        "evalMatches": [{"value": 100, "metric": "errors", "tags": None}],
        "message": "Someone is testing the alert notification within Grafana.",
        "orgId": 0,
        "panelId": 1,
        "ruleId": 0,
        "ruleName": "Error rate",
        "ruleUrl": "http://grafana.example.com/",
        "state": state,
        "tags": {},
        "title": f"[{state.capitalize()}] Error rate",
    }


def datadog(transition: str = "Triggered", **changes: Any) -> dict[str, Any]:
    """Datadog's webhook with the payload from the documentation."""
    return {
        "alert_transition": transition,
        "alert_type": "error",
        "alert_cycle_key": "9bd4ac313a4d1e8fae2482df7b77628",
        "title": f"[{transition} on {{service:shop}}] Checkout errors",
        **changes,
    }


def default_datadog(title: str = "[Triggered on {service:shop}] Checkout errors") -> dict[str, Any]:
    """Datadog's webhook with its default payload."""
    return {
        "body": "@webhook-tidegate",
        "last_updated": "1790000000000",
        "event_type": "metric_alert_monitor",
        "title": title,
        "date": "1790000000000",
        "org": {"id": "1", "name": "Example"},
        "id": "1234567",
    }


def generic(status: str = "firing", **changes: Any) -> dict[str, Any]:
    """An alert from a script."""
    return {"status": status, "summary": "queue is full", **changes}
