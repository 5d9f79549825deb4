"""The two pictures at the top of the README: a live release, and the moment of a rollback.

``TIDEGATE_PICTURES=1 scripts/test tests/dashboard/test_pictures.py`` draws them again. Otherwise
the tests only check that both pages can still be made like this.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from tidegate_server.admin.document_reader import read_project_documents
from tidegate_server.domain.change import Address
from tidegate_server.domain.kinds import Kind
from tidegate_server.domain.release import LIVE_STATES, Release
from tidegate_server.domain.release_start import start_release
from tidegate_server.policy_job import PolicyJob

from tests.dashboard.filled_server import FilledServer, filled_server
from tests.dashboard.visits import visit
from tests.http_calls import PRODUCTION, PROJECT
from tests.people import PASSWORD, invited
from tests.policy_job.deployment import Clock, Sdk

DRAWN = os.environ.get("TIDEGATE_PICTURES") == "1"
PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
SIZE = {"width": 1280, "height": 910}
WINDOW_MS = 1_000
FLAG = "fast-checkout"
POLICY = {
    "key": "web",
    "description": "For everything that customers see.",
    "interval": "1s",
    "stages": [
        {"percentage": percentage, "min_duration": "10s", "min_samples": 500}
        for percentage in (5, 25, 50, 100)
    ],
    "bake": "10m",
}
PER_WINDOW = 2_000
"""Operations in a window."""

HEALTHY, BROKEN = 0.004, 0.02
"""Shares of operations that fail."""


@pytest.fixture
def server() -> Iterator[FilledServer]:
    with filled_server() as empty:
        invitation = invited(empty.admin, "mira@example.com", {"role": "admin"})
        accepted = empty.app.test_client().post(
            "/api/v1/invitations/accept",
            json={"invitation": invitation, "name": "Mira", "password": PASSWORD},
        )
        assert accepted.status_code == 200
        yield empty


@dataclass
class Traffic:
    """A release, and the operations of each window.

    For a picture every window takes its time, so that all times on it are true.
    """

    server: FilledServer
    release: str = "rel_4f1c0d9a7b32"

    def run(self, windows: int, broken_after: int) -> Release:
        """Run so many windows; ``broken_after`` so many, the treatment fails more often."""
        self._start()
        store, draw = self.server.store, random.Random(11)
        clock = Clock(store.now_ms())
        job, sdk = PolicyJob(store, "job", clock), Sdk(store, "default", "c" * 32)
        for window in range(windows):
            release = self.now()
            if release.state not in LIVE_STATES:
                break
            share = release.policy.stages[release.stage - 1].percentage / 100
            with_it = round(PER_WINDOW * share)
            failing = BROKEN if window >= broken_after else HEALTHY
            sdk.report(
                release,
                (PER_WINDOW - with_it, _failures(draw, PER_WINDOW - with_it, HEALTHY)),
                (with_it, _failures(draw, with_it, failing)),
            )
            clock.now_ms += WINDOW_MS
            if DRAWN:
                time.sleep(max(0, clock.now_ms - store.now_ms()) / 1000)
            job.tick()
        return self.now()

    def _start(self) -> None:
        admin, store = self.server.admin, self.server.store
        admin.post_ok(f"{PROJECT}/flags", {"key": FLAG, "type": "boolean"})
        admin.post_ok(f"{PROJECT}/policies", POLICY)
        targeting = {"enabled": True, "off_variant": "off", "default": {"variant": "off"}}
        assert admin.put(f"{PRODUCTION}/flags/{FLAG}", targeting, match="*").status_code == 200
        change = start_release(
            read_project_documents(store, "default"),
            "production",
            release_id=self.release,
            flag=FLAG,
            treatment="on",
            policy="web",
            actor="Mira (mira@example.com)",
            now_ms=store.now_ms(),
        )
        store.commit(change)

    def now(self) -> Release:
        """Return the release as it is now."""
        address = Address(Kind.RELEASE, self.release, "production")
        stored = self.server.store.get("default", address)
        assert stored is not None
        release: Release = stored.document
        return release


def _failures(draw: random.Random, operations: int, share: float) -> int:
    return sum(draw.random() < share for _ in range(operations))


def picture(chromium: Browser, server: FilledServer, release: str, says: str, name: str) -> None:
    """Check that the page of a release says something, and draw it if that is asked for."""
    with visit(chromium, server.port, SIZE, color_scheme="light") as at:
        at.sign_in("mira@example.com")
        at.go(f"/p/default/e/production/releases/{release}")
        expect(at.page.locator(".status .says").first).to_contain_text(says)
        if DRAWN:
            PICTURES.mkdir(parents=True, exist_ok=True)
            at.page.screenshot(path=PICTURES / f"{name}.png")


def test_a_live_release(chromium: Browser, server: FilledServer) -> None:
    traffic = Traffic(server)
    assert traffic.run(windows=26, broken_after=26).state in LIVE_STATES
    picture(chromium, server, traffic.release, "Open to", "live-release")


def test_the_moment_of_a_rollback(chromium: Browser, server: FilledServer) -> None:
    traffic = Traffic(server)
    assert traffic.run(windows=40, broken_after=24).state not in LIVE_STATES
    picture(chromium, server, traffic.release, "Rolled back", "rollback")
