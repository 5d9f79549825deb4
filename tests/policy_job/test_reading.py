from __future__ import annotations

from tidegate_server.decisions.progress import begin
from tidegate_server.decisions.windows import Window
from tidegate_server.policy_job.reading import read_window

from tests.policy_job.deployment import ENVIRONMENT, Deployment


def read(deployment: Deployment) -> Window:
    release = deployment.release()
    window, _ = read_window(
        deployment.store, "shop", ENVIRONMENT, release, begin(release), release.started_ms + 1
    )
    return window


def test_a_window_has_both_arms_and_the_generation(deployment: Deployment) -> None:
    deployment.start()
    deployment.sdk.report(deployment.release(), (90, 3), (10, 1))
    window = read(deployment)

    assert (window.control.outcomes, window.control.failing) == (90, 3)
    assert (window.treatment.outcomes, window.treatment.failing) == (10, 1)
    assert window.strata[0].share == 0.1
    assert window.generation == 1


def test_who_reports_is_looked_up_only_in_silence(deployment: Deployment) -> None:
    deployment.start()
    assert read(deployment).live_instances == 0

    deployment.sdk.report(deployment.release(), (0, 0), (0, 0))
    assert read(deployment).live_instances == 1

    deployment.sdk.report(deployment.release(), (9, 0), (1, 0))
    assert read(deployment).live_instances is None
