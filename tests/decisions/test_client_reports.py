"""The reports of clients: they hold or warn, and decide only where the policy says so."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate_server.decisions.decision import Action, Decision
from tidegate_server.decisions.observations import Distribution
from tidegate_server.decisions.progress import Progress
from tidegate_server.decisions.warnings import new_warning
from tidegate_server.domain.checks import Check, ClientEvidence, Compare, Metric, OnFailure
from tidegate_server.domain.policy import NoData, NoDataAction, Policy
from tidegate_server.domain.release import State

from tests.decisions.simulated_release import EvaluatedRelease, policy, window_of

HEALTHY = (900, 2), (100, 0)
BROKEN = (900, 2), (100, 20)
NOTHING = (0, 0), (0, 0)
ARM = tuple[int, int]

arms = st.integers(0, 3_000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))
windows = st.lists(st.tuples(arms, arms), min_size=1, max_size=12)


def ramp(client_evidence: ClientEvidence = ClientEvidence.HOLD, **changes: object) -> Policy:
    by = policy(10, 50, 100)
    check = replace(by.checks[0], client_evidence=client_evidence, **changes)  # type: ignore[arg-type]
    return replace(by, checks=(check,))


class Sources(EvaluatedRelease):
    """A release with reports of servers and of clients."""

    def close(
        self,
        server: tuple[ARM, ARM] = NOTHING,
        client: tuple[ARM, ARM] = NOTHING,
    ) -> Decision:
        """Close a window with (operations, failing users) of both arms of both sources."""
        progress = self.progress
        generation = progress.client.generation if progress.client is not None else 1
        now = progress.evaluated_ms + self.release.policy.interval_ms
        clients = window_of(self.release, *client, generation=generation, closed_ms=now)
        return self.window(*server, client=clients)

    @property
    def clients(self) -> Progress:
        assert self.progress.client is not None
        return self.progress.client


def test_failures_that_clients_report_hold_a_release_and_never_roll_it_back() -> None:
    sources = Sources(ramp())
    sources.close(HEALTHY, BROKEN)
    held = sources.last

    assert (held.action, held.state) == (Action.HOLD, State.HOLDING)
    assert held.reason.startswith("client reports say: evidence of harm ")
    assert "treatment: 20 users failed in 100 operations" in held.reason
    assert "anyone can make them up" in held.reason
    for _ in range(300):
        assert sources.close(HEALTHY, BROKEN).action is Action.HOLD
    assert held.client is not None
    assert held.client.failed_checks == (0,)
    assert held.failed_checks == ()


def test_successes_that_clients_report_never_advance_a_release() -> None:
    sources = Sources(ramp())
    for _ in range(100):
        decision = sources.close(client=((9_000, 90), (1_000, 10)))
        assert decision.action is Action.HOLD
    assert sources.release.stage == 1
    assert "no data" in decision.reason
    assert "clients report 1000000 outcomes in this stage, which decide nothing" in decision.reason


def test_successes_that_clients_report_do_not_hide_failures_of_servers() -> None:
    sources = Sources(ramp())
    decision = sources.close(BROKEN, ((90_000, 90), (10_000, 0)))

    assert decision.action is Action.ROLLBACK


def test_servers_advance_a_release_while_clients_report_no_harm() -> None:
    sources = Sources(ramp())
    for _ in range(100):
        if sources.close(HEALTHY, ((90, 1), (10, 0))).action is Action.ADVANCE:
            break
    assert sources.release.stage == 2


def test_suspicious_reports_of_clients_prevent_an_advance() -> None:
    sources = Sources(ramp())
    sources.close(HEALTHY, ((900, 2), (100, 4)))
    assert sources.last.client is not None
    assert 5 < sources.last.client.checks[0].evidence < 200
    for _ in range(30):
        sources.close(HEALTHY)
    assert sources.release.stage == 1
    assert "client reports say: evidence of harm" in sources.last.reason


@pytest.mark.parametrize(
    "check",
    [{"client_evidence": ClientEvidence.WARN}, {"on_failure": OnFailure.WARN}],
    ids=["client_evidence", "on_failure"],
)
def test_clients_only_warn_where_the_check_says_so(check: dict[str, object]) -> None:
    by = ramp()
    by = replace(by, checks=(replace(by.checks[0], **check),))  # type: ignore[arg-type]
    sources = Sources(by)
    warned = sources.close(HEALTHY, BROKEN)

    assert sources.release.state is State.RUNNING
    label = "error rate against control"
    warning = new_warning(by, None, warned)
    assert warning.startswith(f"client reports say that {label} failed, which only warns")
    assert new_warning(by, warned, sources.close(HEALTHY, BROKEN)) == ""
    for _ in range(100):
        if sources.close(HEALTHY, BROKEN).action is Action.ADVANCE:
            break
    assert sources.release.stage == 2


def test_a_broken_split_of_clients_holds() -> None:
    sources = Sources(ramp())
    decision = sources.close(HEALTHY, ((0, 0), (1_000, 0)))

    assert decision.state is State.HOLDING
    assert "client reports say: sample ratio: 1,000 of 1,000" in decision.reason


def test_errors_of_clients_at_100_percent_hold_and_never_retreat() -> None:
    sources = Sources(ramp(), stage=2, step=2)
    even = (500, 2), (500, 2)
    while sources.release.stage == 2:
        sources.close(even, even)
    for _ in range(20):
        decision = sources.close(((0, 0), (1_000, 2)), ((0, 0), (1_000, 200)))
        assert decision.action is Action.HOLD
    assert "client reports say: errors rose where no control group is left" in decision.reason
    assert sources.release.stage == 3


def test_a_threshold_that_clients_break_holds_until_they_are_silent() -> None:
    check = Check(metric=Metric.ERROR_RATE, compare=Compare.ABSOLUTE, threshold=0.05)
    sources = Sources(replace(policy(10, 100, min_duration_ms=10**9), checks=(check,)))
    for _ in range(4):
        sources.close(HEALTHY, ((900, 0), (100, 50)))
    assert "client reports say: error rate <= 0.05" in sources.last.reason
    for _ in range(3):
        sources.close(HEALTHY)
    assert "client reports" not in sources.last.reason


def test_no_data_of_servers_is_no_data_whatever_clients_report() -> None:
    by = replace(ramp(), no_data=NoData(60_000, NoDataAction.ROLLBACK))
    sources = Sources(by)
    for _ in range(2):
        sources.close(client=((900, 2), (100, 0)))
    assert sources.release.state is State.ROLLED_BACK


class TestDecide:
    def test_clients_advance_a_release(self) -> None:
        sources = Sources(ramp(ClientEvidence.DECIDE))
        for _ in range(100):
            if sources.close(client=HEALTHY).action is Action.ADVANCE:
                break
        assert sources.release.stage == 2

    def test_clients_roll_a_release_back(self) -> None:
        sources = Sources(ramp(ClientEvidence.DECIDE))
        decision = sources.close(client=BROKEN)

        assert decision.action is Action.ROLLBACK
        assert decision.client is not None
        assert decision.client.checks == ()

    def test_the_evidence_of_both_sources_is_one(self) -> None:
        apart = Sources(ramp(ClientEvidence.DECIDE))
        apart.close(((900, 2), (100, 2)), ((900, 2), (100, 3)))
        servers = Sources(ramp())
        servers.close(((1_800, 4), (200, 5)))

        assert apart.last.log_evidence == pytest.approx(servers.last.log_evidence)
        assert apart.progress.compared_treatment == servers.progress.compared_treatment

    def test_values_of_clients_count_in_the_checks_that_say_so(self) -> None:
        latency = Check(metric=Metric.LATENCY, client_evidence=ClientEvidence.DECIDE)
        by = replace(ramp(), checks=(*ramp().checks, latency))
        sources = Sources(by)
        fast, slow = ((10, 95), (40, 5)), ((10, 10), (40, 90))
        for number in range(4):
            clients = window_of(
                sources.release,
                *HEALTHY,
                generation=sources.clients.generation if number else 1,
                distributions=(Distribution(1, "latency", fast * 10, slow * 2),),
            )
            if sources.window(*HEALTHY, client=clients).action is Action.ROLLBACK:
                break
        assert "latency p95 against control" in sources.last.reason
        assert sources.progress.treatment.outcomes == 100 * (number + 1)


@given(windows)
def test_the_evidence_of_servers_is_the_same_whatever_clients_report(
    reported: list[tuple[ARM, ARM]],
) -> None:
    alone, both = Sources(ramp()), Sources(ramp())
    for number, client in enumerate(reported):
        server = ((900, number % 3), (100, number % 2))
        alone.window(*server)
        both.close(server, client)
        if alone.release != both.release:
            break  # the clients hold the release
        assert alone.last.log_evidence == both.last.log_evidence
        assert alone.progress.checks == both.progress.checks
        assert alone.progress.probe == both.progress.probe
        assert alone.progress.split == both.progress.split
    assert both.last.action in (alone.last.action, Action.HOLD)


@given(windows)
def test_clients_alone_never_move_a_release(reported: list[tuple[ARM, ARM]]) -> None:
    sources = Sources(ramp())
    for client in reported:
        assert sources.close(client=client).action is Action.HOLD


def test_progress_of_clients_survives_the_store() -> None:
    sources = Sources(ramp())
    sources.close(HEALTHY, BROKEN)
    written = msgspec.json.encode(sources.progress)

    assert msgspec.json.decode(written, type=Progress) == sources.progress


def test_an_epoch_of_clients_ends_by_itself() -> None:
    sources = Sources(ramp(ClientEvidence.WARN))
    for first in (60, 50, 5):
        assert sources.progress.client is None or sources.clients.generation == 1
        clients = window_of(
            sources.release,
            (900, first),
            (100, 5),
            control_errors=60,
            generation=1,
            closed_ms=sources.progress.evaluated_ms + 30_000,
        )
        sources.window((90, 1), (10, 0), client=clients)

    assert sources.clients.generation == 2
    assert sources.clients.checks[0].epoch == 2
    assert (sources.progress.generation, sources.progress.checks[0].epoch) == (0, 1)
