"""How the series of a release looks in a terminal: one table for each check."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tidegate_server.cli.api_client import Json
from tidegate_server.cli.formatting import instant
from tidegate_server.cli.output import item_table
from tidegate_server.decisions.evidence_words import with_limit

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table


def series_view(series: Json) -> Group:
    """Return the points of a release, the latest last: its counts, then each check."""
    from rich.console import Group

    points = series["points"]
    parts: list[RenderableType] = [_counts(points)]
    for check in series["checks"]:
        rows = [
            {**numbers, "at": point["at"], "stage": point["stage"]}
            for point in points
            for numbers in point["checks"]
            if numbers["number"] == check["number"]
        ]
        parts += ["", f"{check['label']}:", _check(check, rows)]
    return Group(*parts)


def _counts(points: list[Json]) -> Table:
    return item_table(
        points,
        {
            "until": lambda point: instant(point["at"]),
            "stage": "stage",
            "decision": lambda point: point["action"].replace("_", " "),
            "control: users who failed": lambda point: _failed(point["control"]),
            "treatment: users who failed": lambda point: _failed(point["treatment"]),
        },
    )


def _failed(arm: Json) -> str:
    return f"{arm['failing']:,} in {arm['outcomes']:,} operations"


def _check(check: Json, rows: list[Json]) -> Table:
    columns: dict[str, str | Callable[[Json], object]] = {
        "at": lambda row: instant(row["at"]),
        "stage": "stage",
    }
    if check["compared_by"] is None:
        columns |= {
            "value": lambda row: _number(row["value"]),
            "limit": lambda row: _number(row["limit"]),
        }
        return item_table(rows, columns)
    columns |= {
        "evidence of harm": lambda row: with_limit(row["evidence"], "limit", row["rollback_at"]),
        "evidence of safety": lambda row: with_limit(row["advance"], "needs", row["advance_at"]),
        check["compared_by"]: lambda row: _number(row["ratio"]["seen"]),
        "at least": lambda row: _number(row["ratio"]["low"]),
        "at most": lambda row: _number(row["ratio"]["high"]),
        "tolerated": lambda row: _number(row["ratio"]["tolerated"]),
    }
    if check["quantile"] is not None:
        percentile = f"p{100 * check['quantile']:g}"
        columns |= {
            f"control {percentile}": lambda row: _number(row["quantiles"]["control"]),
            f"treatment {percentile}": lambda row: _number(row["quantiles"]["treatment"]),
        }
    return item_table(rows, columns)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
