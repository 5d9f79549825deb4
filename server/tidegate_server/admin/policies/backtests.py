"""Backtest a policy over a release's ledger within a request."""

from __future__ import annotations

import time
from dataclasses import dataclass

from tidegate_server.admin.document_reader import read_document
from tidegate_server.admin.ledgers.stored_ledger import read_ledger
from tidegate_server.admin.policies.backtest_schemas import BacktestRequest
from tidegate_server.admin.policies.computation import (
    TIME_LIMIT_SECONDS,
    find_policy,
)
from tidegate_server.domain.change import Address
from tidegate_server.domain.kinds import Kind
from tidegate_server.random_seeds import random_generator
from tidegate_server.store import Store
from tidegate_server.whatif.backtest import Backtest, BacktestRun
from tidegate_server.whatif.backtest_report import BacktestReport, fit_policy, summarize_runs
from tidegate_server.whatif.recording import read_recording


@dataclass(frozen=True, slots=True)
class BacktestResult:
    """The report of a backtest; ``complete``: all runs ended within the time limit."""

    release: str
    complete: bool
    report: BacktestReport


def backtest(store: Store, project: str, request: BacktestRequest) -> BacktestResult:
    """Run a policy over the evidence in a release's ledger.

    Raises:
        NotFound: there is no such release, or no policy with this key.
        Invalid: the policy is not valid, or needs evidence that the ledger does not have.
        NotPossible: this version cannot read the ledger.
    """
    address = Address(Kind.RELEASE, request.release, request.environment)
    release = read_document(store, project, address).document
    policy = find_policy(store, project, request.policy)
    entries = read_ledger(store, project, request.environment, request.release)
    recording = read_recording(release, (each.entry for each in entries), policy)
    fit = fit_policy(policy, recording)
    deadline = time.monotonic() + TIME_LIMIT_SECONDS
    runs: list[BacktestRun] = []
    for number in range(request.runs):
        rng = random_generator(request.seed, "backtest", number)
        runs.append(_run(Backtest(fit, recording, rng, request.statistics)))
        # Without random draws, every run is the same.
        if not runs[-1].drawn.random or time.monotonic() >= deadline:
            break
    complete = len(runs) == request.runs or not runs[-1].drawn.random
    report = summarize_runs(policy, fit, recording, runs, request.statistics)
    return BacktestResult(release.id, complete, report)


def _run(run: Backtest) -> BacktestRun:
    for _ in run.windows():
        pass
    return run.result()
