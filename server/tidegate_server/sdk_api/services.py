"""The services of the SDKs' API in one application."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from flask import Flask, current_app

from tidegate_server.process_metrics import REPORTS
from tidegate_server.sdk_api.report_consistency import check_consistency
from tidegate_server.sdk_api.report_rates import ReportRates
from tidegate_server.sdk_api.streams import StreamedEnvironments
from tidegate_server.sdk_api.wanted_users import SeenUserReports, WantedUsers
from tidegate_server.store import Store
from tidegate_server.store.feed import Place
from tidegate_server.store.reports import Report, Reported
from tidegate_server.web.backend import Backend
from tidegate_server.web.request_bodies import decompress, uncompressed_length

EXTENSION = "tidegate.sdk_api"


@dataclass(frozen=True, slots=True)
class Services:
    """The services for SDKs: how fast they report, which users, and what they stream."""

    report_rates: ReportRates
    seen_users: SeenUserReports
    streamed_environments: StreamedEnvironments

    def decompress_report(self, token: str, compressed: bytes, counted: int, limit: int) -> bytes:
        """Return a report without compression, counted against the rate of its token before that.

        Args:
            token: the id of the token.
            compressed: what was sent.
            counted: for how many bytes it was counted before it was read.
            limit: the most bytes that it may have.

        Raises:
            RateLimited: the token has sent too many.
            HTTPException: as ``uncompressed_length`` and ``decompress`` raise it.
        """
        length = uncompressed_length(compressed, limit=limit)
        self.report_rates.take(token, max(counted, length), counted=counted)
        return decompress(compressed, length)

    def count_report(
        self, store: Store, place: Place, report: Report
    ) -> tuple[Reported, WantedUsers | None]:
        """Count a report; return what became of it, and which users to name.

        Raises:
            Invalid: its numbers cannot be true together.
            TidegateError: as ``EvidenceStore.add_report`` raises it.
        """
        check_consistency(report)
        reported = store.evidence.add_report(*place, report)
        REPORTS.inc()
        return reported, self.seen_users.take(*place, report.seen_users)


def install(app: Flask, backend: Backend) -> None:
    """Give an application its services for SDKs."""
    app.extensions[EXTENSION] = Services(
        ReportRates(backend.settings.reports_per_minute),
        SeenUserReports(backend.store, backend.settings.secret_key),
        StreamedEnvironments(backend.store, backend.settings.keep_alive_seconds),
    )


def services() -> Services:
    """Return the services of the application that serves the current request."""
    return cast(Services, current_app.extensions[EXTENSION])
