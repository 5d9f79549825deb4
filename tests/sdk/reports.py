"""What the next report of an instance would contain."""

from __future__ import annotations

from typing import Any

from tidegate.reporting import Reporter, counts_document


def report_document(reporter: Reporter) -> dict[str, Any]:
    """Return the counts of the next report as JSON has them."""
    return counts_document(reporter.next_report())
