"""A snapshot with one flag under release, and what a client counted for it."""

from __future__ import annotations

from typing import Any

from tidegate import Client

from tests.sdk.documents import a_flag, a_release, a_snapshot
from tests.sdk.reports import report_document

_RELEASE = a_release((100, []), report_interval=1, measures=["latency", "basket_value"])
SNAPSHOT = {
    **a_snapshot(a_flag("checkout", default={"variant": "off"}, release=_RELEASE)),
    "environment": "test",
}


def counted(client: Client) -> dict[str, Any]:
    """Return the totals of the treatment and the number of failing users."""
    report = report_document(client._reporter)
    totals = [each["treatment"] for each in report["counts"]]
    return {
        "exposures": sum(each["exposures"] for each in totals),
        "outcomes": sum(each["outcomes"] for each in totals),
        "errors": sum(each["errors"] for each in totals),
        "failing": sum(len(each["users"]) for each in report["failing"]),
    }


def counts(exposures: int, outcomes: int, errors: int, failing: int = 0) -> dict[str, int]:
    return {"exposures": exposures, "outcomes": outcomes, "errors": errors, "failing": failing}
