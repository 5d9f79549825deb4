"""The status sentence of a release: what is missing, and about when it goes on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tidegate_server.dashboard import release_sentences
from tidegate_server.dashboard.reason_words import reason_words

NOW = datetime(2026, 11, 26, 14, 16, tzinfo=UTC)


def iso(after: timedelta) -> str:
    return (NOW + after).isoformat()


def running() -> dict[str, Any]:
    """Return a running release as the API answers it, as far as its sentence needs it."""
    stage = {"segments": [], "percentage": 25, "approval": None}
    return {
        "state": "running",
        "stopped": False,
        "closed": False,
        "control": "off",
        "treatment": "on",
        "reason": "because of this",
        "openings": [{"segments": [], "percentage": 25}],
        "stage": {"number": 1},
        "policy": {"stages": [stage]},
        "progress": {"gates": [], "checks": [], "last_decision": {"reason": "waiting: 4.5 of 10"}},
    }


def test_nothing_is_said_to_speak_for_a_release_that_was_not_looked_at() -> None:
    begun = running() | {"progress": None}
    begun["policy"]["interval"] = "10s"
    assert says(begun) == (
        "Open to 25\u00a0% of everyone. The policy has not looked at it yet; it does every "
        "10\u00a0s."
    )


def says(document: dict[str, Any], forecast: dict[str, Any] | None = None) -> str:
    status = release_sentences.status(document, forecast, NOW, UTC)
    return f"{status.what} {status.why}"


def gate(kind: str, **changes: Any) -> dict[str, Any]:
    usual = {"have": 4.0, "need": 10.0, "until": None, "check": None, "arm": None}
    return {"kind": kind, "met": False, "waived": False, "source": "server", **usual, **changes}


@pytest.mark.parametrize(
    ("gates", "sentence"),
    [
        ([gate("time", have=120, need=1200)], "It still needs 18\u00a0min in this stage."),
        (
            [gate("samples", arm="treatment", have=412, need=500)],
            "too few have come: 412 of 500 operations. It still needs operations with on "
            "(412\u00a0of\u00a0500).",
        ),
        (
            [gate("time", have=0, need=60), gate("safety", have=4.5)],
            "It still needs 60\u00a0s in this stage and evidence that it is harmless by the check "
            "(4.5\u00a0of\u00a010).",
        ),
        ([gate("harm", have=7.9)], "something speaks against it."),
        ([gate("calendar", until="2026-11-26T15:00:00Z")], "a time at which it may open, 15:00."),
        ([gate("confirmation", webhook="calendar")], "It still needs the word of calendar."),
        ([gate("time", met=True)], "nothing speaks against it. 4.5 of 10."),
    ],
)
def test_what_is_missing_is_said(gates: list[dict[str, Any]], sentence: str) -> None:
    document = running()
    document["progress"]["gates"] = gates
    assert sentence in says(document)


def test_a_gate_of_harm_is_a_warning() -> None:
    document = running()
    document["progress"]["gates"] = [gate("harm")]
    assert release_sentences.status(document, None, NOW, UTC).kind == "warn"


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (
            "evidence of harm 149 reached 111: treatment: 5 users failed in 12 operations; "
            "control: 2 users failed in 114 operations (this stage)",
            "It is worse than the policy allows (evidence against it 149, limit 111): 5 users "
            "failed in 12 operations with on; 2 users failed in 114 operations with off in this "
            "stage.",
        ),
        (
            "latency p95 against control: evidence of harm 149 reached 111: treatment: 9 of 12 "
            "operations were slower than control's p95; control: 5 of 114 (this stage)",
            "Latency p95 against control: it is worse than the policy allows (evidence against it "
            "149, limit 111): with on 9 of 12 operations were slower than 95\u00a0% of those with "
            "off; with off 5 of 114 in this stage.",
        ),
        (
            "client reports say: evidence of harm 7.9 is too high to advance: treatment: 1 user "
            "failed in 12 operations; control: 2 users failed in 114 operations (this stage)",
            "Client reports say: it looks too bad to open further (evidence against it 7.9): 1 "
            "user failed in 12 operations with on; 2 users failed in 114 operations with off in "
            "this stage.",
        ),
        (
            "waiting: too few samples, 4 of 25 outcomes in the treatment arm; evidence of safety "
            "0.29 of 10",
            "Too few operations, 4 of 25 with on; evidence that it is harmless 0.29 of 10.",
        ),
        ("what nobody foresaw", "What nobody foresaw."),
    ],
)
def test_a_reason_names_the_variants(reason: str, said: str) -> None:
    assert reason_words(reason, running()) == said


def forecast(median: timedelta | None, late: timedelta | None, **changes: Any) -> dict[str, Any]:
    following = {
        "early": iso(timedelta(seconds=5)),
        "median": None if median is None else iso(median),
        "late": None if late is None else iso(late),
    }
    document = {"rehearsals": 60, "next_stage": following, "completed": None, "stopped": 0.0}
    return document | changes


@pytest.mark.parametrize(
    ("ahead", "sentence"),
    [
        (
            forecast(timedelta(minutes=4), timedelta(minutes=18)),
            "the next stage opens at about 14:20, nine times of ten by 14:34.",
        ),
        (
            forecast(timedelta(seconds=12), timedelta(seconds=40)),
            "the next stage opens in about 12\u00a0s, nine times of ten within 40\u00a0s.",
        ),
        (
            forecast(timedelta(hours=2), timedelta(hours=5)),
            "the next stage opens in 5\u00a0s to 5\u00a0h.",
        ),
        (forecast(timedelta(minutes=4), None), "at about 14:20, or much later."),
        (forecast(None, None, stopped=0.9), "rolled back: so ended 90 of 100 rehearsals."),
        (forecast(None, None), "takes very long"),
    ],
)
def test_the_forecast_in_words(ahead: dict[str, Any], sentence: str) -> None:
    assert sentence in says(running(), ahead)


def test_no_forecast_is_said_without_rehearsals() -> None:
    assert "pace" not in says(running(), {"rehearsals": 0})


@pytest.mark.parametrize(
    ("state", "who"),
    [
        ("running", "25\u00a0% of everyone"),
        ("killed", "nobody"),
        ("rolled_back", "nobody"),
        ("completed", "everyone"),
    ],
)
def test_the_search_says_who_has_the_treatment_of_a_release_now(state: str, who: str) -> None:
    assert release_sentences.open_now(running() | {"state": state}) == who
