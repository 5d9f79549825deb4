"""The services of the SDKs' API in one application."""

from __future__ import annotations

from typing import cast

from flask import Flask, current_app

from tidegate_server.sdk_api.report_rates import ReportRates
from tidegate_server.web.backend import Backend

EXTENSION = "tidegate.sdk_api"


def install(app: Flask, backend: Backend) -> None:
    """Give an application its services for SDKs."""
    app.extensions[EXTENSION] = ReportRates(backend.settings.reports_per_minute)


def report_rates() -> ReportRates:
    """Return the report rates of the application that serves the current request."""
    return cast(ReportRates, current_app.extensions[EXTENSION])
