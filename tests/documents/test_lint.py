from __future__ import annotations

import pytest
from tidegate_server.documents.lint import Finding, lint
from tidegate_server.errors import Unreadable

SOUND = """\
key: mine
stages:
  - {percentage: 5}
  - {percentage: 100}
"""


def found(text: str) -> list[tuple[int | None, str]]:
    linted = lint(text, "mine.yaml")
    assert linted.valid is all(each.warning for each in linted.findings)
    return [(each.line, each.pointer) for each in linted.findings]


def test_a_valid_policy_has_no_findings() -> None:
    linted = lint(SOUND, "mine.yaml")

    assert linted.findings == ()
    assert linted.policy is not None
    assert [stage.name for stage in linted.policy.stages] == ["stage-1", "stage-2"]


def test_schema_problems_have_line_numbers() -> None:
    text = SOUND.replace("percentage: 5", "percentage: five, interval: 3") + "colour: blue\n"

    assert found(text) == [(3, "/stages/0/percentage"), (3, "/stages/0/interval"), (5, "/colour")]


def test_validation_problems_have_line_numbers() -> None:
    text = SOUND.replace("{percentage: 100}", "{percentage: 3}\n  - {percentage: 50}")

    assert found(text) == [(4, "/stages/1/percentage"), (5, "/stages/2/percentage")]


def test_a_missing_field_has_the_line_of_its_parent() -> None:
    assert found("key: mine\n") == [(1, "/stages")]
    assert found(SOUND.replace("{percentage: 5}", "{min_samples: 5}")) == [
        (3, "/stages/0/percentage")
    ]


def test_references_to_other_documents_are_warnings() -> None:
    text = (
        SOUND.replace("{percentage: 5}", "{segments: [staff], percentage: 50}")
        + "notify: [{webhook: chat}]\nconfirm: [{webhook: gatekeeper}]\n"
    )
    linted = lint(text, "mine.yaml")

    assert linted.valid
    assert linted.policy is not None
    assert linted.findings[0] == Finding(
        3,
        "/stages/0/segments/0",
        "The project needs a segment 'staff' before you create this policy.",
        warning=True,
    )
    assert [(each.line, each.pointer) for each in linted.findings[1:]] == [
        (5, "/notify/0/webhook"),
        (6, "/confirm/0/webhook"),
    ]


def test_error_rate_off_is_a_warning() -> None:
    linted = lint(SOUND + "error_rate: off\nchecks: [{metric: latency}]\n", "mine.yaml")

    assert linted.valid
    [finding] = linted.findings
    assert (finding.line, finding.pointer, finding.warning) == (5, "/error_rate", True)
    assert "errors are not compared with control" in finding.detail


def test_fields_that_the_server_adds_are_ignored() -> None:
    added = "revision: 3\nupdated_at: 2026-01-31T09:00:00Z\nwarnings: []\nafter_last_advance: []\n"
    assert found(SOUND + added) == []


def test_a_document_that_is_not_an_object_is_one_finding() -> None:
    assert found("[1, 2]") == [(1, "")]


@pytest.mark.parametrize("text", ["key: [", "key: 1\nkey: 2", "a: &x 1"])
def test_an_unreadable_text_is_refused(text: str) -> None:
    with pytest.raises(Unreadable, match=r"mine\.yaml"):
        lint(text, "mine.yaml")


def test_checks_that_clients_decide_are_warned_of() -> None:
    linted = lint(SOUND + "checks:\n  - {client_evidence: decide}\n", "mine.yaml")

    (finding,) = linted.findings
    assert (finding.line, finding.pointer) == (6, "/checks/0/client_evidence")
    assert finding.warning
    assert "everyone who can open the page can roll a release back" in finding.detail
    assert "Nothing else has to agree" in finding.detail


@pytest.mark.parametrize(
    "gate",
    [
        ", {compare: absolute, threshold: 0.1, client_evidence: decide}]",
        "]\nconfirm: [{webhook: bot}]",
        "]\nstages: [{percentage: 5, approval: {count: 2}}, {percentage: 100}]",
        "]\nstages: [{percentage: 5, max_duration: 1d}, {percentage: 100}]",
    ],
)
def test_a_second_gate_beside_the_reports_of_clients_is_recognized(gate: str) -> None:
    stages = "" if "stages" in gate else "stages: [{percentage: 5}, {percentage: 100}]\n"
    text = f"key: mine\n{stages}checks: [{{client_evidence: decide}}{gate}\n"
    decides = [
        each
        for each in lint(text, "mine.yaml").findings
        if each.pointer.endswith("client_evidence")
    ]

    assert decides
    assert all("Nothing else has to agree" not in each.detail for each in decides)


def test_stages_that_can_hold_for_ever_are_a_hint() -> None:
    linted = lint(SOUND, "mine.yaml")
    (hint,) = linted.hints
    assert (hint.line, hint.pointer) == (3, "/stages/0/max_duration")
    assert "stay in a stage without a max_duration for ever (stage-1)" in hint.detail

    limited = SOUND.replace("{percentage: 5}", "{percentage: 5, max_duration: 4h}")
    assert lint(limited, "mine.yaml").hints == ()


@pytest.mark.parametrize(
    ("stages", "checks", "hinted"),
    [
        ("percentage: 1}, {segments: [staff]}, {percentage: 5", "[{metric: error_rate}]", True),
        (
            "percentage: 1}, {segments: [staff], percentage: 50}, {percentage: 5",
            "[{metric: error_rate}]",
            False,
        ),
        (
            "percentage: 1}, {segments: [staff]}, {percentage: 5",
            "[{metric: error_rate, compare: absolute, threshold: 0.1}]",
            False,
        ),
    ],
)
def test_a_segment_that_nothing_watches_while_others_are_compared_is_a_hint(
    stages: str, checks: str, hinted: bool
) -> None:
    text = (
        SOUND.replace("{percentage: 5}", "{" + stages.replace("}, {", "}\n  - {") + "}")
        + f"checks: {checks}\n"
    )
    found = [each for each in lint(text, "mine.yaml").hints if "control group" in each.detail]

    assert [each.pointer for each in found] == ["/stages/1/percentage"] * hinted
    assert all("add a check with compare: absolute" in each.detail for each in found)


def test_a_latency_with_less_than_five_percent_held_back_is_a_hint() -> None:
    limited = SOUND.replace("{percentage: 5}", "{percentage: 5, max_duration: 4h}")
    text = limited + "checks:\n  - {metric: latency}\nholdback: "
    (hint,) = lint(text + "4.9", "mine.yaml").hints
    assert (hint.line, hint.pointer) == (6, "/checks/0")
    assert "about a doubling" in hint.detail
    assert lint(text + "5", "mine.yaml").hints == ()


def test_lint_says_what_watches_each_check_after_the_last_advance() -> None:
    linted = lint(SOUND + "checks: [{metric: latency}]\n", "mine.yaml")

    assert [(each.label, each.text) for each in linted.watched] == [
        ("latency p95 against control", "the probe of values"),
        ("error rate against control", "the probe of errors"),
    ]
