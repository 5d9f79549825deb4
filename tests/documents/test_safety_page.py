"""Every row of the page on what Tidegate refuses has a test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "safety.md"

VARIANTS = "domain/test_safe_variants.py"
SEGMENTS = "domain/test_open_segments.py"
FLAGS = "domain/test_flag_edits.py"
CHECKS = "domain/test_check_validation.py"
GATES = "domain/test_gate_risks.py"
STAGES = "domain/test_policy_validation.py"
MACHINE = "domain/test_release_state_machine.py"

CAN_NEVER_FAIL = f"{CHECKS}::test_a_check_that_could_never_fail_is_refused"
STOPS_NOTHING = f"{GATES}::test_a_gate_that_stops_nothing_is_refused"
NOT_OPENED = f"{VARIANTS}::test_a_release_cannot_open_what_a_kill_or_the_disabled_flag_serves"

TESTS = {
    # The kill variant and the off variant
    "a release whose treatment is the flag's kill variant": NOT_OPENED,
    "a release whose treatment is the flag's off variant": NOT_OPENED,
    "during a release: a kill variant or an off variant": f"{VARIANTS}::"
    "test_during_a_release_the_kill_and_off_variants_cannot_become_what_it_opens",
    "during a release: a new value": f"{VARIANTS}::"
    "test_during_a_release_no_value_makes_a_kill_open_it",
    "while the flag is killed: another kill variant": f"{VARIANTS}::"
    "test_what_a_kill_serves_cannot_change_while_the_flag_is_killed",
    "while the flag is killed: another value": f"{VARIANTS}::"
    "test_the_value_that_a_kill_serves_cannot_change_while_the_flag_is_killed",
    "an off variant that meets": f"{VARIANTS}::"
    "test_a_flag_whose_off_variant_is_required_cannot_get_a_prerequisite",
    "a prerequisite that a kill": f"{VARIANTS}::"
    "test_the_kill_of_a_flag_cannot_turn_on_a_flag_that_requires_it",
    "a kill variant that meets": f"{VARIANTS}::"
    "test_a_flag_cannot_get_a_kill_variant_that_turns_on_what_requires_it",
    # Releases and segments
    "a release of a rule that another rule hides": f"{FLAGS}::"
    "test_no_rule_hides_the_rule_of_a_release",
    "during a release: a rule that hides": f"{FLAGS}::test_no_rule_hides_the_rule_of_a_release",
    "during a release: another variant or a split": f"{FLAGS}::"
    "test_a_released_rule_cannot_be_removed_or_changed",
    "during a release: another condition of a segment": f"{SEGMENTS}::"
    "test_the_condition_of_an_open_segment_does_not_change",
    "more keys in a segment": f"{SEGMENTS}::"
    "test_nobody_joins_a_segment_that_a_stopped_release_has_open",
    "the removal of a variant": f"{FLAGS}::"
    "test_the_variants_of_an_active_release_cannot_be_removed",
    "a split with a weight of 0": "domain/test_flag_validation.py::"
    "test_invalid_weights_are_refused",
    # Checks
    "no checks": STOPS_NOTHING,
    "a relative tolerance above 10": CAN_NEVER_FAIL,
    "a tolerance of a quantile": CAN_NEVER_FAIL,
    "a relative tolerance of 1": CAN_NEVER_FAIL,
    "a false-alarm probability": CAN_NEVER_FAIL,
    "a quantile below": CAN_NEVER_FAIL,
    "an error rate threshold": CAN_NEVER_FAIL,
    "a latency threshold": CAN_NEVER_FAIL,
    "a threshold that no value": CAN_NEVER_FAIL,
    "`>=` or `>` for an error rate": CAN_NEVER_FAIL,
    "more than ten tolerated breaches": CAN_NEVER_FAIL,
    "a check that nothing watches": "domain/test_last_stage.py::"
    "test_a_check_that_nothing_watches_is_refused",
    "a local breaker": STOPS_NOTHING,
    # Stages and gates
    "a stage that opens less": f"{STAGES}::test_invalid_stages_are_refused",
    "`undecided: advance`": f"{STAGES}::test_invalid_stages_are_refused",
    "a `max_duration` that": f"{STAGES}::test_invalid_stages_are_refused",
    "a harm budget": f"{STAGES}::test_invalid_numbers_are_refused",
    "a holdback above 50 %": STOPS_NOTHING,
    "an approval by nobody": f"{GATES}::test_an_approval_asks_at_least_one_person",
    "a second approval": f"{MACHINE}::test_two_tokens_of_one_name_are_one_approver",
    "an approval by the starter": f"{MACHINE}::"
    "test_the_starter_cannot_approve_with_another_token_of_the_same_name",
    "a freeze that ends": STOPS_NOTHING,
    "an advance window without days": STOPS_NOTHING,
    "an advance window that begins": STOPS_NOTHING,
    "retries with a cooldown": STOPS_NOTHING,
    "more than 20 retries": STOPS_NOTHING,
    "a webhook under `confirm`": "domain/test_webhook_edits.py::"
    "test_a_slack_webhook_cannot_confirm",
    # Accepted with a warning
    "`error_rate: off`": "admin/test_policies.py::"
    "test_error_rate_off_leaves_the_check_out_and_warns",
    "a check of the error rate that only warns": "domain/test_error_rate.py::"
    "test_warnings_say_where_errors_do_not_stop_a_release",
    "an approval by one person": f"{GATES}::"
    "test_an_approval_that_the_starter_can_give_alone_is_a_risk",
    "`min_samples: 0` where": f"{GATES}::test_no_samples_are_a_risk_only_without_a_comparison",
    "`bake: 0s`": f"{GATES}::test_no_bake_is_a_risk",
    "a freeze that is over": f"{GATES}::test_a_freeze_that_is_over_is_a_risk",
    "a policy, or a kill variant": "admin/test_policies.py::"
    "test_documents_of_an_earlier_version_warn_of_what_is_refused_today",
    "`client_evidence: decide`": "documents/test_lint.py::"
    "test_checks_that_clients_decide_are_warned_of",
    # Accepted, and why
    "a person's `advance`": f"{MACHINE}::test_a_person_outranks_a_freeze_but_no_approval",
    "a rule before the released rule": f"{FLAGS}::test_other_rules_can_change_during_a_release",
    "a key that one segment excludes": f"{SEGMENTS}::"
    "test_a_key_that_one_segment_excludes_is_open_through_another",
    "`min_samples: 0` with a comparison": f"{GATES}::"
    "test_no_samples_are_a_risk_only_without_a_comparison",
    "approvers that no token has": f"{GATES}::test_what_opens_nothing_is_accepted",
    "an advance window that never opens": f"{GATES}::test_what_opens_nothing_is_accepted",
    "two variants with one value": f"{VARIANTS}::test_an_a_a_test_is_possible",
    "a hook that kills": "admin/test_hooks.py::"
    "test_a_hook_acts_only_on_its_flags_in_its_environment",
    "a long `no_data` time": f"{GATES}::test_what_opens_nothing_is_accepted",
    "the deletion of a killed flag": f"{FLAGS}::test_a_flag_is_deleted_in_every_environment",
}

ROWS = [
    row
    for row in re.findall(r"^\| (.+?) \|", PAGE.read_text(), re.M)
    if row not in ("what is written", "---")
]


def test_every_row_of_the_page_names_a_test_and_every_test_a_row() -> None:
    matches = {row: [key for key in TESTS if row.startswith(key)] for row in ROWS}
    assert {row: len(keys) for row, keys in matches.items() if len(keys) != 1} == {}
    assert {keys[0] for keys in matches.values()} == set(TESTS)


@pytest.mark.parametrize("test", sorted(set(TESTS.values())))
def test_the_test_of_a_row_exists(test: str) -> None:
    file, _, name = test.partition("::")
    assert re.search(rf"^ *def {name}\(", (ROOT / "tests" / file).read_text(), re.M), test
