"""Trying a policy on a stored ledger for a request: in bounded time, others not kept waiting."""

from __future__ import annotations

import time
from dataclasses import dataclass

from tidegate_server.admin.document_reader import read_document
from tidegate_server.admin.ledgers.stored_ledger import read_ledger
from tidegate_server.admin.policies.backtest_schemas import BacktestRequest
from tidegate_server.admin.policies.simulations import BREATH, SECONDS, computing, policy_for
from tidegate_server.domain.change import Address, Kind
from tidegate_server.random_seeds import generator
from tidegate_server.store import Store
from tidegate_server.whatif.backtest import Backtest, BacktestRun, PolicyFit
from tidegate_server.whatif.backtest_report import BacktestReport, fit_policy, summarize_runs
from tidegate_server.whatif.recording import Recording, read_recording
from tidegate_server.whatif.sampling import RandomGenerator


@dataclass(frozen=True, slots=True)
class Backtested:
    """What a backtest came to; ``complete``: all runs that were asked for were made in time."""

    release: str
    complete: bool
    report: BacktestReport


def backtest(store: Store, project: str, asked: BacktestRequest) -> Backtested:
    """Run a policy over what a release's ledger recorded.

    Raises:
        NotFound: there is no such release, or no policy of this key.
        Invalid: the policy could not be carried out, or the record cannot answer it.
        NotPossible: the ledger cannot be read by this version, or this process computes for
            somebody else.
    """
    address = Address(Kind.RELEASE, asked.release, asked.environment)
    release = read_document(store, project, address).document
    policy = policy_for(store, project, asked.policy)
    with computing():
        entries = read_ledger(store, project, asked.environment, asked.release)
        recorded = read_recording(release, (each.entry for each in entries))
        fit = fit_policy(policy, recorded)
        until = time.monotonic() + SECONDS
        runs: list[BacktestRun] = []
        for number in range(asked.runs):
            rng = generator(asked.seed, "backtest", number)
            runs.append(_run(fit, recorded, rng))
            if not runs[-1].drawn.random or time.monotonic() >= until:
                break
    complete = len(runs) == asked.runs or not runs[-1].drawn.random
    return Backtested(release.id, complete, summarize_runs(policy, fit, recorded, runs))


def _run(fit: PolicyFit, recorded: Recording, rng: RandomGenerator) -> BacktestRun:
    backtest = Backtest(fit, recorded, rng)
    for number, _ in enumerate(backtest.windows()):
        if number % BREATH == 0:
            time.sleep(0)
    return backtest.result()
