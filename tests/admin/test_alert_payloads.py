from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tidegate_server.admin.hooks.alert_payloads import Alert, AlertStatus, parse_alert
from tidegate_server.domain.hooks import AlertKind
from tidegate_server.errors import Invalid

from tests.admin.alert_payloads import (
    alertmanager,
    datadog,
    default_datadog,
    generic,
    grafana,
    legacy_grafana,
)

FIRING, RESOLVED, OTHER = AlertStatus.FIRING, AlertStatus.RESOLVED, AlertStatus.OTHER


@pytest.mark.parametrize(
    ("kind", "payload", "status"),
    [
        (AlertKind.ALERTMANAGER, alertmanager("firing"), FIRING),
        (AlertKind.ALERTMANAGER, alertmanager("resolved"), RESOLVED),
        (AlertKind.GRAFANA, grafana("firing"), FIRING),
        (AlertKind.GRAFANA, grafana("resolved"), RESOLVED),
        (AlertKind.GRAFANA, legacy_grafana("alerting"), FIRING),
        (AlertKind.GRAFANA, legacy_grafana("ok"), RESOLVED),
        (AlertKind.GRAFANA, legacy_grafana("no_data"), OTHER),
        (AlertKind.GRAFANA, legacy_grafana("pending"), OTHER),
        (AlertKind.GRAFANA, legacy_grafana("paused"), OTHER),
        (AlertKind.DATADOG, datadog("Triggered"), FIRING),
        (AlertKind.DATADOG, datadog("Re-Triggered"), FIRING),
        (AlertKind.DATADOG, datadog("Recovered", alert_type="success"), RESOLVED),
        (AlertKind.DATADOG, datadog("No Data"), OTHER),
        (AlertKind.DATADOG, datadog("Warn", alert_type="warning"), OTHER),
        (AlertKind.DATADOG, datadog("Re-Warn", alert_type="warning"), OTHER),
        (AlertKind.DATADOG, datadog("Renotify"), FIRING),
        (AlertKind.DATADOG, datadog("Renotify", alert_type="warning"), OTHER),
        (AlertKind.DATADOG, datadog("Null"), OTHER),
        (AlertKind.DATADOG, default_datadog(), FIRING),
        (AlertKind.DATADOG, default_datadog("[Triggered] [Memory Alert]"), FIRING),
        (AlertKind.DATADOG, default_datadog("[P1] [Re-Triggered on {host:a}] Down"), FIRING),
        (AlertKind.DATADOG, default_datadog("[Recovered on {host:a}] Down"), RESOLVED),
        (AlertKind.DATADOG, default_datadog("[No data on {host:a}] Down"), OTHER),
        (AlertKind.GENERIC, generic("firing"), FIRING),
        (AlertKind.GENERIC, generic("resolved"), RESOLVED),
    ],
)
def test_the_status_of_an_alert_is_read_from_its_payload(
    kind: AlertKind, payload: dict[str, Any], status: AlertStatus
) -> None:
    assert parse_alert(kind, payload).status is status


@pytest.mark.parametrize(
    ("kind", "payload", "pointer"),
    [
        (AlertKind.ALERTMANAGER, {}, "/status"),
        (AlertKind.ALERTMANAGER, {"status": "Firing"}, "/status"),
        (AlertKind.ALERTMANAGER, {"status": ["firing"]}, "/status"),
        (AlertKind.ALERTMANAGER, {"status": "firing"}, "/alerts"),
        (AlertKind.ALERTMANAGER, {"status": "firing", "alerts": {}}, "/alerts"),
        (AlertKind.ALERTMANAGER, {"status": "firing", "alerts": [1]}, "/alerts"),
        (AlertKind.ALERTMANAGER, datadog(), "/status"),
        (AlertKind.GRAFANA, {"title": "Error rate"}, "/status"),
        (AlertKind.DATADOG, {}, "/alert_transition"),
        (AlertKind.DATADOG, {"title": "Checkout [Triggered]"}, "/alert_transition"),
        (AlertKind.DATADOG, alertmanager(), "/alert_transition"),
        (AlertKind.GENERIC, {"summary": "queue is full"}, "/status"),
        (AlertKind.GENERIC, {"status": True}, "/status"),
    ],
)
def test_a_payload_of_another_kind_is_refused_with_its_field(
    kind: AlertKind, payload: dict[str, Any], pointer: str
) -> None:
    with pytest.raises(Invalid) as refused:
        parse_alert(kind, payload)
    assert [each.pointer for each in refused.value.fields] == [pointer]


def test_a_long_title_without_an_end_is_refused() -> None:
    """With a pattern that can match in several ways, it would take hours."""
    with pytest.raises(Invalid):
        parse_alert(AlertKind.DATADOG, default_datadog("[" + " on" * 300_000))


def test_a_group_fires_while_one_of_its_alerts_does() -> None:
    ended = {**alertmanager("resolved")["alerts"][0], "fingerprint": "another"}
    alert = parse_alert(AlertKind.ALERTMANAGER, alertmanager(more=(ended,)))
    assert alert == Alert(
        FIRING,
        "CheckoutErrors: checkout answers 5 % of requests with errors",
        ("1a30ba71cca2921f@2026-09-21T14:13:20.25Z",),
    )
    stale = {**alertmanager("firing"), "alerts": [ended]}
    assert parse_alert(AlertKind.ALERTMANAGER, stale).status is RESOLVED


@pytest.mark.parametrize("kind", [AlertKind.ALERTMANAGER, AlertKind.GRAFANA])
def test_a_group_without_a_firing_alert_does_not_fire(kind: AlertKind) -> None:
    assert parse_alert(kind, {"status": "firing", "alerts": []}).status is AlertStatus.OTHER
    assert parse_alert(kind, {"status": "resolved", "alerts": []}).status is RESOLVED
    assert parse_alert(kind, {"status": "firing", "alerts": [{}]}).status is RESOLVED


@pytest.mark.parametrize(
    "began",
    ["2026-09-21T14:13:20.250Z", "2026-09-21T16:13:20.25+02:00", "2026-09-21t14:13:20.250000000z"],
)
def test_the_same_moment_in_another_notation_is_the_same_alert(began: str) -> None:
    first = parse_alert(AlertKind.ALERTMANAGER, alertmanager(began="2026-09-21T14:13:20.25Z"))
    again = parse_alert(AlertKind.ALERTMANAGER, alertmanager(began=began))
    later = parse_alert(
        AlertKind.ALERTMANAGER, alertmanager(began="2026-09-21T14:13:20.250000001Z")
    )
    assert first.episodes == again.episodes != later.episodes


def test_the_summary_counts_further_alerts() -> None:
    other = {**alertmanager()["alerts"][0], "fingerprint": "another"}
    alert = parse_alert(AlertKind.ALERTMANAGER, alertmanager(more=(other,)))
    assert alert.summary.endswith("errors and 1 more")
    assert len(alert.episodes) == 2


def test_a_group_with_an_alert_without_fingerprint_has_no_episodes() -> None:
    nameless = {"status": "firing", "labels": {}}
    alert = parse_alert(AlertKind.ALERTMANAGER, alertmanager(more=(nameless,)))
    assert alert.episodes == ()


def test_the_title_is_the_summary_if_there_are_no_annotations() -> None:
    group = grafana()
    group["alerts"] = []
    assert parse_alert(AlertKind.GRAFANA, group).summary == "[FIRING:1] High error rate (shop)"
    assert parse_alert(AlertKind.GENERIC, {"status": "firing"}).summary == "an alert"


def test_a_summary_is_one_short_line_without_control_characters() -> None:
    alert_payload = generic(summary="queue\x1b[31m is\nfull " + "and " * 500)
    alert = parse_alert(AlertKind.GENERIC, alert_payload)
    assert alert.summary.startswith("queue [31m is full and")
    assert len(alert.summary) == 300


def test_an_alert_that_fires_again_has_a_new_episode() -> None:
    first = parse_alert(AlertKind.ALERTMANAGER, alertmanager())
    later = parse_alert(AlertKind.ALERTMANAGER, alertmanager(began="2026-09-22T08:00:00Z"))
    assert first.episodes != later.episodes
    assert parse_alert(AlertKind.DATADOG, datadog()).episodes == (
        "9bd4ac313a4d1e8fae2482df7b77628",
    )
    assert parse_alert(AlertKind.GENERIC, generic(id="queue-7")).episodes == ("queue-7",)


def test_the_documented_payload_of_datadog_is_read() -> None:
    page = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()
    (template,) = re.findall(r"^```json\n(\{[^`]*ALERT_TRANSITION[^`]*)```", page, re.MULTILINE)
    values = {
        "$EVENT_TITLE": "[Triggered on {service:shop}] Checkout errors",
        "$ALERT_TRANSITION": "Triggered",
        "$ALERT_TYPE": "error",
        "$ALERT_CYCLE_KEY": "9bd4ac313a4d1e8fae2482df7b77628",
    }
    payload = {name: values[variable] for name, variable in json.loads(template).items()}
    assert set(values) == set(json.loads(template).values())
    assert parse_alert(AlertKind.DATADOG, payload) == parse_alert(AlertKind.DATADOG, datadog())
