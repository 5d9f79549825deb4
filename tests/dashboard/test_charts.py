"""Charts are well-formed, stay within their frame, and have no style that the policy forbids."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate_server.dashboard import release_stages, release_tiles
from tidegate_server.dashboard.charts import release_charts, value_charts
from tidegate_server.dashboard.charts.backtest_charts import (
    Count,
    Opened,
    count_bars,
    opened_chart,
)
from tidegate_server.dashboard.charts.evidence_gauge import evidence_gauge, position
from tidegate_server.dashboard.charts.plot import Mark
from tidegate_server.dashboard.charts.policy_steps import Step, policy_steps
from tidegate_server.dashboard.charts.release_charts import Reading, View
from tidegate_server.dashboard.charts.rollout_bar import rollout_bar
from tidegate_server.dashboard.charts.scales import (
    Span,
    duration_ticks,
    linear_ticks,
    log_ticks,
    time_ticks,
)
from tidegate_server.dashboard.charts.simulation_charts import time_bar

START = datetime(2026, 11, 26, 13, 14, tzinfo=UTC)

ratios = st.one_of(st.none(), st.floats(1e-4, 1e4))
readings = st.lists(
    st.builds(
        lambda failing, outcomes, seen, low, high, evidence: (
            (min(failing, outcomes), outcomes),
            seen,
            low,
            high,
            evidence,
        ),
        st.integers(0, 50),
        st.integers(0, 500),
        ratios,
        ratios,
        ratios,
        st.one_of(st.none(), st.floats(0, 1e12)),
    ),
    max_size=30,
).map(
    lambda rows: [
        Reading(
            START + timedelta(seconds=30 * number),
            1 + number // 10,
            counts,
            counts,
            seen,
            low,
            high,
            1.1,
            evidence,
            400.0,
        )
        for number, (counts, seen, low, high, evidence) in enumerate(rows)
    ]
)


def parse(markup: str) -> ElementTree.Element:
    assert "style=" not in markup
    return ElementTree.fromstring(f"<all>{markup}</all>")


def view(end: timedelta = timedelta(minutes=15)) -> View:
    marks = (
        Mark(START, "1", "tide", "stage 1 <opened>"),
        Mark(START + timedelta(minutes=9), "2", "tide"),
    )
    return View(Span(START, START + end), START + end * 0.8, marks, UTC, "on", "off")


@given(readings)
def test_release_charts_are_drawn_from_any_series(rows: list[Reading]) -> None:
    shown = view()
    for markup in (
        release_charts.ratio_chart(shown, rows, "says <b>"),
        release_charts.evidence_chart(shown, rows, "says", not_opening=5.0),
        release_charts.arms_chart(shown, rows, "says"),
    ):
        root = parse(markup)
        assert all("nan" not in text for text in (*root.itertext(), markup))
        for percent in re.findall(r'x="(-?[\d.]+)%"', markup):
            assert -0.01 <= float(percent) <= 100.01


def test_a_band_is_red_where_even_the_least_is_more_than_tolerated() -> None:
    def row(low: float) -> Reading:
        return Reading(START, 1, (1, 100), (4, 100), 4.0, low, 8.0, 1.1, 600.0, 400.0)

    assert "band hot" in release_charts.ratio_chart(view(), [row(1.3)], "says")
    assert "band hot" not in release_charts.ratio_chart(view(), [row(0.9)], "says")


@given(st.floats(0, 1e300), st.floats(6, 1e6))
def test_the_gauge_shows_the_limit_at_one_place(value: float, limit: float) -> None:
    parse(evidence_gauge(value, limit))
    assert "it pauses" in evidence_gauge(value, limit, does="pauses")
    assert position(limit, limit) == pytest.approx(88)
    assert (position(value, limit) > 88.01) <= (value > limit)


@given(st.floats(0, 100), st.booleans())
def test_a_bar_is_linear(share: float, killed: bool) -> None:
    markup = rollout_bar(share, 'says "so" <b>', notches=(1, 25, 100), killed=killed)
    parse(markup)
    if share > 0 and not killed:
        assert f'class="fill-t" x="0.000%" width="{share:.3f}%"' in markup


@given(st.floats(1e-3, 1e6))
def test_linear_ticks_reach_the_highest_value(high: float) -> None:
    ticks = linear_ticks(high)
    assert ticks[0] == 0
    assert ticks[-1] >= high * 0.999
    assert 2 <= len(ticks) <= 6


@given(st.floats(1e-3, 1), st.floats(1.5, 1e9))
def test_logarithmic_ticks_lie_within(low: float, high: float) -> None:
    ticks = log_ticks(low, high)
    assert all(low * 0.999 <= tick <= high * 1.001 for tick in ticks)
    assert len(ticks) <= 6


@given(st.floats(1, 10**7))
def test_a_time_axis_has_few_labels(seconds: float) -> None:
    span = Span(START, START + timedelta(seconds=seconds))
    assert len(time_ticks(span, UTC)) <= 6


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1e8)), min_size=1, max_size=12))
def test_a_policy_is_drawn_with_any_stages(stages: list[tuple[float, float]]) -> None:
    steps = [Step(f"{share:g} % of everyone", False, share, least) for share, least in stages]
    parse(policy_steps(steps, 3_600_000, "says"))


def test_a_segment_is_not_taken_for_everyone_by_its_name() -> None:
    names = ("50 % of not of everyone", "everyone")
    steps = [Step(names[0], True, 50, 60_000), Step(names[1], False, 100, 60_000)]
    drawn = parse(policy_steps(steps, 3_600_000, "says"))
    assert [
        each.text for each in drawn.iter("text") if each.get("class", "").startswith("halo wide")
    ] == [names[0]]


def test_two_policies_are_drawn_as_steps_in_one_chart() -> None:
    later = START + timedelta(minutes=10)
    end = START + timedelta(minutes=20)
    was, would = Opened([(START, 5.0), (later, 100.0)]), Opened([(START, 25.0), (later, 0.0)])
    markup = opened_chart(was, would, Span(START, end), UTC, "open")
    parse(markup)
    control, treatment = re.findall(r'<path class="ln-[ct]" d="([^"]+)"', markup)
    # Each step is level until the next, and the last until the end of the record.
    assert [point.split()[0].lstrip("ML") for point in re.split(" (?=L)", control)] == [
        *("0.0", "500.0", "500.0", "1000.0"),
    ]
    assert treatment != control


def test_numbers_of_people_are_drawn_on_one_scale() -> None:
    counts = [Count("as it was", 40, 40, 40, "fill-c"), Count("under new", 10, 5, 20, "fill-t")]
    markup = count_bars(counts, "people hurt")
    parse(markup)
    assert re.findall(r'class="fill-[ct]" y="18" width="([\d.]+)%"', markup) == ["100.00", "25.00"]
    assert markup.count('class="reach"') == 1


HOUR = 3_600_000
ALL = {"segments": [], "percentage": 100}


@pytest.mark.parametrize(
    ("whole", "texts"),
    [
        (50_000, ["15 s", "30 s", "45 s"]),
        (30 * 60_000, ["10 min", "20 min", "30 min"]),
        (4.4 * HOUR, ["1 h", "2 h", "3 h", "4 h"]),
        (7 * HOUR, ["2 h", "4 h", "6 h"]),
        (50 * HOUR, ["12 h", "24 h", "36 h", "48 h"]),
        (200 * HOUR, ["2 d", "4 d", "6 d", "8 d"]),
    ],
)
def test_a_scale_of_durations_has_round_steps_of_one_unit(whole: float, texts: list[str]) -> None:
    assert [text.replace("\u00a0", " ") for _, text in duration_ticks(whole)] == texts
    drawn = time_bar(whole / 3, whole / 2, whole, bad=False, says="says")
    assert all(text.replace(" ", "\u00a0") in drawn for text in texts)


@given(st.floats(1, 1e12))
def test_a_scale_of_durations_has_few_labels_within(whole: float) -> None:
    ticks = duration_ticks(whole)
    assert len(ticks) <= 4
    assert all(0 < at <= whole for at, _ in ticks)
    assert len(ticks) >= 1 or whole < 1_000


@pytest.mark.parametrize("ended", [None, "2026-11-26T13:29:00Z"])
def test_labels_at_the_ends_of_lines_stand_beside_them_without_a_forecast(
    ended: str | None,
) -> None:
    release = {
        **{"started_at": "2026-11-26T13:14:00Z", "ended_at": ended},
        **{"policy": {"stages": [{}]}, "treatment": "on", "control": "off"},
    }
    shown = release_tiles.view(release, {}, [], None, START + timedelta(minutes=15), UTC)
    row = Reading(
        *(START + timedelta(minutes=15), 1, (3, 100), (4, 100), 1.3, 0.6, 2.0, 1.05, 1.5, 111.0)
    )
    chart = release_charts.arms_chart(shown, [row], "says")
    ends = re.findall(r'text-anchor="(\w+)"><tspan class="wide">(\w+) </tspan>', chart)
    assert ends == [("start", "on"), ("start", "off")]
    assert ('class="ahead"' in chart) == (ended is None)


def test_a_stage_that_was_expected_earlier_is_not_marked_in_the_past() -> None:
    policy = {"stages": [{"name": "few", "segments": [], "percentage": 5}, {"name": "all", **ALL}]}
    release = {
        **{"started_at": "2026-11-26T13:14:00Z", "ended_at": None, "state": "running"},
        **{"policy": policy, "stage": {"number": 1}, "treatment": "on", "control": "off"},
    }
    forecast = {"next_stage": {"median": "2026-11-26T13:20:00Z"}}
    entered = {1: "2026-11-26T13:14:00Z"}
    for minutes, expected, says in ((5, True, "about 13:20"), (7, False, "soon")):
        now = START + timedelta(minutes=minutes)
        marks = release_tiles.view(release, entered, [], forecast, now, UTC).marks
        assert any(each.expected for each in marks) == expected
        stage = release_stages.stage_views(release, entered, forecast, now, UTC)[1]
        assert str(stage.when).startswith(says)


def test_labels_of_a_measured_value_keep_apart() -> None:
    def point(number: int) -> dict[str, Any]:
        at = START + timedelta(minutes=number)
        quantiles = {"control": 0.2, "treatment": 0.2}
        check = {"number": 0, "quantiles": quantiles}
        return {"at": at.isoformat(), "checks": [check]}

    chart = value_charts.quantile_chart(view(), [point(1), point(2)], 0, "says")
    assert chart is not None
    heights = [float(y) for y in re.findall(r'<text class="halo t?" x="8" y="([\d.]+)"', chart)]
    assert len(heights) == 2
    assert abs(heights[0] - heights[1]) >= 14


@pytest.mark.parametrize("failing", [0, 1, 50, 99, 100])
def test_labels_at_the_ends_of_lines_lie_neither_on_markers_nor_on_each_other(failing: int) -> None:
    row = Reading(
        *(START + timedelta(minutes=5), 1, (failing, 100), (100, 100), 1.3, 0.6, 2.0, 1.05),
        *(1.5, 111.0),
    )
    chart = release_charts.arms_chart(view(), [row], "says")
    heights = sorted(float(y) for y in re.findall(r'x="8" y="([\d.]+)" text-anchor', chart))
    assert heights[0] >= 36
    assert heights[1] - heights[0] >= 14
