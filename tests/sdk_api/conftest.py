"""The application, and a clock of report rates that stands still."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from tidegate_server.sdk_api import report_rates

from tests.http_application import *  # noqa: F403


@pytest.fixture
def stopped_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no time pass for the rates of reports: on a slow machine a bucket would fill again."""
    monkeypatch.setattr(report_rates, "time", SimpleNamespace(monotonic=lambda: 0.0))
