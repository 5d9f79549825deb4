from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs
from tidegate_server.outbound.bounded_threads import BoundedThreads
from tidegate_server.outbound.pending_requests import PendingRequests, ReleaseKey, Request

from tests.waiting import until

PLENTY_S = 60.0
RELEASE = ("shop", "production", "rel_1")


class Server:
    """Answers requests with their names, but none before ``open``."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.opened = threading.Event()

    def request(self, name: str, timeout_s: float = PLENTY_S) -> Request[str]:
        def send(left_s: float) -> str:
            assert 0 < left_s <= timeout_s
            self.sent.append(name)
            self.opened.wait(PLENTY_S)
            return name

        return Request("queue", timeout_s, "no answer", send)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def pending() -> PendingRequests[str]:
    return PendingRequests(BoundedThreads("test", max_per_key=2, max_total=10), fresh_s=PLENTY_S)


def release(number: int, project: str = "shop") -> ReleaseKey:
    return (project, "production", f"rel_{number}")


def wait_for(collect: Callable[[], tuple[str, ...] | None]) -> tuple[str, ...]:
    answers: list[tuple[str, ...]] = []

    def complete() -> bool:
        found = collect()
        answers.extend(() if found is None else (found,))
        return found is not None

    until(complete)
    return answers[0]


def test_more_requests_than_threads_are_sent_as_threads_become_free(
    pending: PendingRequests[str], server: Server
) -> None:
    names = [f"request {number}" for number in range(6)]
    for number, name in enumerate(names):
        pending.collect(release(number), name, lambda name=name: [server.request(name)])  # type: ignore[misc]
    until(lambda: len(server.sent) == 2)
    assert pending.waiting
    server.opened.set()
    until(lambda: not pending.waiting)
    assert sorted(server.sent) == names
    assert sorted(pending.completed()) == [release(number) for number in range(6)]


def test_a_forgotten_request_is_not_sent(pending: PendingRequests[str], server: Server) -> None:
    for number in range(4):
        pending.collect(release(number), 1, lambda n=number: [server.request(f"{n}")])  # type: ignore[misc]
    pending.collect(release(9, "blog"), 1, lambda: [server.request("other")])
    until(lambda: len(server.sent) == 2)
    pending.forget(release(2))
    pending.forget_project("shop")
    server.opened.set()
    until(lambda: not pending.waiting)
    assert len(server.sent) == 3
    assert server.sent[-1] == "other"
    assert pending.completed() == [release(9, "blog")]


def test_the_default_counts_when_the_time_is_over_or_nothing_is_sent(
    pending: PendingRequests[str], server: Server
) -> None:
    def requests() -> list[Request[str]]:
        return [server.request("late", 0.1), Request("queue", 0.0, "known")]

    assert wait_for(lambda: pending.collect(RELEASE, 1, requests)) == ("no answer", "known")
    server.opened.set()
    assert pending.collect(RELEASE, 1, requests) == ("no answer", "known"), (
        "a late answer does not count"
    )
    assert server.sent == ["late"]


def test_another_question_is_sent_again(pending: PendingRequests[str], server: Server) -> None:
    server.opened.set()
    first = wait_for(lambda: pending.collect(RELEASE, 1, lambda: [server.request("first")]))
    again = wait_for(lambda: pending.collect(RELEASE, 1, lambda: [server.request("again")]))
    other = wait_for(lambda: pending.collect(RELEASE, 2, lambda: [server.request("other")]))
    assert (first, again, other) == (("first",), ("first",), ("other",))


def test_a_request_that_raises_is_logged_and_has_the_default(
    pending: PendingRequests[str],
) -> None:
    def fail(_: float) -> str:
        raise ValueError("on purpose")

    with capture_logs() as logs:
        answers = wait_for(
            lambda: pending.collect(RELEASE, 1, lambda: [Request("queue", 0.1, "none", fail)])
        )
    assert answers == ("none",)
    assert [each["event"] for each in logs] == ["thread_work_failed"]
