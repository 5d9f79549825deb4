"""Outcomes of pages drive a release, through OpenFeature's tracking."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from tests.ofrep_clients.clients import Page
from tests.ofrep_clients.node import Driver, driven
from tests.ofrep_clients.server import Shop
from tests.waiting import until


@pytest.fixture
def web() -> Iterator[Driver]:
    with driven("web_client.mjs") as driver:
        yield driver
        driver.do("stop")


def visit(page: Page, user: str) -> bool:
    """Open the page as a user; return the value of the flag."""
    page.do("context", context={"targetingKey": user})
    return bool(page.details("boolean", "checkout", False)["value"])


def test_every_outcome_counts_for_the_arm_of_its_variant(web: Driver, shop: Shop) -> None:
    page = Page(web, shop.server.url, shop.token("client"))
    release = shop.release()
    shop.settle()
    shown = {True: 0, False: 0}
    for number in range(40):
        shown[visit(page, f"user-{number}")] += 1
        page.do("track", event="tidegate.ok")

    def counted() -> tuple[int, int]:
        progress = shop.state(release)["progress"]
        if not progress:
            return 0, 0
        reported = progress["client"]
        if not reported:
            return 0, 0
        return reported["treatment"]["outcomes"], reported["control"]["outcomes"]

    until(lambda: counted() == (shown[True], shown[False]))
    assert min(shown.values()) > 0
    assert shop.state(release)["state"] != "rolled_back"


def test_custom_checks_see_the_values_of_pages(web: Driver, shop: Shop) -> None:
    check = {
        "metric": "custom",
        "measure": "basket_value",
        "operator": ">=",
        "quantile": 0.05,
        "client_evidence": "decide",
    }
    release = shop.release(checks=[check])
    page = Page(web, shop.server.url, shop.token("client"))
    users = count()

    def arms_with_values() -> set[str]:
        """Return the arms of which the ledger has values."""
        for _ in range(10):
            visit(page, f"user-{next(users)}")
            page.do("track", event="tidegate.ok")
        entries = shop.server.call("GET", f"{shop.production}/releases/{release}/ledger")["items"]
        windows = [each["entry"]["window"]["client"] for each in entries]
        parts = [part for each in windows if each for part in each["distributions"]]
        assert {part["measure"] for part in parts} <= {"basket_value"}
        return {arm for part in parts for arm in ("control", "treatment") if part[arm]}

    until(lambda: arms_with_values() == {"control", "treatment"})


def test_a_treatment_that_fails_on_pages_is_rolled_back(web: Driver, shop: Shop) -> None:
    release = shop.release(checks=[{"client_evidence": "decide"}])
    page = Page(web, shop.server.url, shop.token("client"))
    users = count()

    def rolled_back() -> bool:
        for _ in range(10):
            fast = visit(page, f"user-{next(users)}")
            page.do("track", event="tidegate.failed" if fast else "tidegate.ok")
        return bool(shop.state(release)["state"] == "rolled_back")

    until(rolled_back)
    progress = shop.state(release)["progress"]
    assert progress["control"]["failing"] == 0
    assert progress["treatment"]["failing"] >= 3
    until(lambda: not any(visit(page, f"user-{number}") for number in range(10)))
