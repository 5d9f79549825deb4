"""Outcomes that anyone can make up with a page's token, sent to a real server."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
from tidegate.context_signing import sign_targeting_key

from tests.ofrep_clients.server import Server, Shop
from tests.waiting import until


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="tg-forged-"))
    started = Server(folder)
    try:
        started.start()
        yield started
    finally:
        started.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def shop(server: Server) -> Shop:
    return server.shop()


class Sender:
    """Whoever has a token, and may send outcomes with it.

    Args:
        shop: where to.
        role: the role of the token.
        context_key: signs the users, as the application's server does.
    """

    def __init__(self, shop: Shop, role: str, context_key: str = "") -> None:
        self._context_key = context_key
        self._url = f"{shop.server.url}/ofrep/v1"
        self._http = urllib3.PoolManager(
            headers={"Authorization": f"Bearer {shop.token(role)}"}, timeout=60.0, retries=False
        )

    def variant(self, user: str) -> str:
        """Return the variant of a user."""
        body = {"context": self._context(user)}
        answer = self._http.request("POST", f"{self._url}/evaluate/flags/checkout", json=body)
        assert answer.status == 200, answer.data
        return str(answer.json()["variant"])

    def track(self, user: str, variant: str, outcome: str) -> None:
        """Send an outcome."""
        body = {
            "context": self._context(user),
            "flags": {"checkout": variant},
            "outcome": outcome,
        }
        answer = self._http.request("POST", f"{self._url}/track", json=body)
        assert answer.status == 202, answer.data

    def _context(self, user: str) -> dict[str, str]:
        if not self._context_key:
            return {"targetingKey": user}
        signature = sign_targeting_key(self._context_key, user)
        return {"targetingKey": user, "tidegateSignature": signature}

    def invent(self, failing: str | None, users: range) -> None:
        """Send the outcomes of invented users, of whom those with one variant failed."""
        for number in users:
            variant = self.variant(f"invented-{number}")
            self.track(f"invented-{number}", variant, "error" if variant == failing else "ok")


def client_counts(state: dict[str, Any]) -> tuple[int, int]:
    """Return the outcomes and failing users of the treatment that clients reported."""
    progress = state["progress"]
    if progress is None or progress["client"] is None:
        return 0, 0
    treatment = progress["client"]["treatment"]
    return treatment["outcomes"], treatment["failing"]


def test_invented_failures_hold_a_release_and_do_not_roll_it_back(shop: Shop) -> None:
    release = shop.release()
    shop.settle()
    Sender(shop, "client").invent("on", range(40))
    until(lambda: client_counts(shop.state(release))[1] >= 10)
    until(lambda: "client reports say" in shop.state(release)["reason"])

    state = shop.state(release)
    assert state["state"] == "holding"
    assert state["stage"]["number"] == 1
    assert state["progress"]["treatment"]["outcomes"] == 0
    assert state["progress"]["client"]["checks"][0]["failed"] is True


def test_invented_successes_do_not_open_a_release(shop: Shop) -> None:
    release = shop.release(no_data={"after": "1s", "action": "hold"}, bake="1s")
    shop.settle()
    attacker = Sender(shop, "client")
    for round in range(4):
        attacker.invent("off", range(60 * round, 60 * round + 60))
    until(lambda: client_counts(shop.state(release))[0] >= 60)
    before = shop.state(release)["progress"]["windows"]
    until(lambda: shop.state(release)["progress"]["windows"] >= before + 3)

    state = shop.state(release)
    assert state["stage"]["number"] == 1
    assert state["progress"]["treatment"]["outcomes"] == 0
    assert "which decide nothing" in state["progress"]["last_decision"]["reason"]


def test_invented_successes_do_not_hide_failures_that_servers_report(shop: Shop) -> None:
    release = shop.release()
    shop.settle()
    Sender(shop, "client").invent(None, range(40))
    Sender(shop, "sdk").invent("on", range(1_000, 1_060))
    until(lambda: shop.state(release)["state"] == "rolled_back")


def test_the_policy_may_let_clients_decide(shop: Shop) -> None:
    release = shop.release(checks=[{"client_evidence": "decide"}])
    (warning,) = shop.state(release)["warnings"]
    assert warning["pointer"] == "/checks/0/client_evidence"
    assert "everyone who can open the page can roll a release back" in warning["detail"]
    shop.settle()
    Sender(shop, "client").invent("on", range(60))
    until(lambda: shop.state(release)["state"] == "rolled_back")


def test_a_user_fails_once_whoever_reports_it(shop: Shop) -> None:
    release = shop.release(checks=[{"client_evidence": "decide"}])
    shop.settle()
    page, service = Sender(shop, "client"), Sender(shop, "sdk")
    user = next(each for each in (f"u-{n}" for n in range(100)) if page.variant(each) == "off")
    for _ in range(3):
        page.track(user, "off", "error")
        service.track(user, "off", "error")

    def control() -> dict[str, Any]:
        progress = shop.state(release)["progress"]
        return progress["control"] if progress else {"outcomes": 0}

    until(lambda: control()["outcomes"] == 6)
    assert control()["failing"] == 1


def test_a_release_that_clients_cannot_advance_says_so(shop: Shop) -> None:
    release = shop.release()
    (warning,) = shop.state(release)["warnings"]
    assert "their reports do not advance the release" in warning["detail"]
    explained = shop.server.call("GET", f"{shop.production}/releases/{release}/explanation")
    assert any("their reports do not advance" in each for each in explained["limits"])


def test_failures_of_signed_users_roll_a_release_back(shop: Shop) -> None:
    release = shop.release()
    shop.settle()
    key = shop.server.call("POST", f"{shop.production}/rotate-key", {})["secret"]
    Sender(shop, "client", key).invent("on", range(60))
    until(lambda: shop.state(release)["state"] == "rolled_back")
    assert shop.state(release)["progress"]["client"] is None


def test_one_person_who_reports_without_end_is_one_failing_user(shop: Shop) -> None:
    release = shop.release()
    shop.settle()
    key = shop.server.call("POST", f"{shop.production}/rotate-key", {})["secret"]
    attacker = Sender(shop, "client", key)
    user = next(each for each in (f"u-{n}" for n in range(100)) if attacker.variant(each) == "on")
    for _ in range(60):
        attacker.track(user, "on", "error")

    def treatment() -> dict[str, Any]:
        progress = shop.state(release)["progress"]
        return progress["treatment"] if progress else {"outcomes": 0}

    until(lambda: treatment()["outcomes"] >= 20)
    assert treatment()["outcomes"] <= 40  # two processes, 20 a minute in each
    assert treatment()["failing"] == 1
    assert shop.state(release)["state"] != "rolled_back"
