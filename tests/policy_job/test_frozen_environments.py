"""A freeze of the environment keeps releases from opening further, not from rolling back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from tidegate_server.domain.project_edits import edit_environment
from tidegate_server.domain.projects import Environment
from tidegate_server.domain.release import State
from tidegate_server.domain.release_gates import Freeze

from tests.policy_job.deployment import ENVIRONMENT, Deployment
from tests.policy_job.test_loop import JobRun

DAY = 24 * 60 * 60 * 1000


def freeze(deployment: Deployment, *freezes: Freeze) -> None:
    present: Environment = deployment.contents().environment(ENVIRONMENT).document
    changed = replace(present, freezes=freezes)
    deployment.store.commit(edit_environment(deployment.contents(), changed, actor="dana"))


def around(now_ms: int) -> Freeze:
    begins, ends = (
        datetime.fromtimestamp((now_ms + shift) / 1000, tz=UTC).strftime("%Y-%m-%d")
        for shift in (-DAY, DAY)
    )
    return Freeze(begins, ends, "holidays")


def test_a_frozen_environment_holds_a_release_that_would_advance(deployment: Deployment) -> None:
    run = JobRun(deployment)
    deployment.start(now_ms=run.clock())
    freeze(deployment, around(run.clock()))
    for _ in range(25):
        run.window()
    assert deployment.release().stage == 1
    assert "holidays" in deployment.ledger()[-1].decision.reason
    freeze(deployment)
    run.until(State.BAKING)


def test_a_frozen_environment_holds_no_rollback(deployment: Deployment) -> None:
    run = JobRun(deployment)
    deployment.start(now_ms=run.clock())
    run.window()
    freeze(deployment, around(run.clock()))
    for _ in range(60):
        if deployment.release().state is State.ROLLED_BACK:
            break
        run.window(((1_000, 0), (1_000, 400)))
    assert deployment.release().state is State.ROLLED_BACK
