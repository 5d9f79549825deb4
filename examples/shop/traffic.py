"""Visitors of the sample shop: some twenty thousand people, unequally active.

A process of its own: ``python -m examples.shop.traffic URL --rate 700``. A few threads, each
with one kept-alive connection, send requests at the asked rate, or at what the machine allows
when that is less. Once a second a line of JSON with the totals since the start goes to standard
output. It ends on SIGTERM, after --seconds, or when whoever started it is gone: then its standard
input closes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import signal
import socket
import sys
import threading
import time
from bisect import bisect
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

THINGS = ("lamp", "chair", "teapot", "rug", "mirror", "clock")
TICK = 0.02
"""Seconds between two bursts of one thread; shorter ones cost more wake-ups."""


@dataclass(slots=True)
class Totals:
    """What came back since the start. ``lost`` requests got no answer at all."""

    requests: int = 0
    errors: int = 0
    lost: int = 0

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            self.requests + other.requests, self.errors + other.errors, self.lost + other.lost
        )


class Crowd:
    """Who comes next: a user drawn by activity, and the request that they send.

    Args:
        users: how many there are.
        logged_out: which part of them is not logged in.
        checkouts: which part of the requests goes to the checkout; the others search.
        seed: the same seed is the same people.
    """

    def __init__(self, users: int, logged_out: float, checkouts: float, seed: int) -> None:
        people = random.Random(seed)
        activity = (people.lognormvariate(0.0, 1.0) for _ in range(users))
        self._cumulated = list(itertools.accumulate(activity))
        self._cookies = [
            f"visitor=user-{number}" + ("" if people.random() < logged_out else "; session=1")
            for number in range(users)
        ]
        self._checkouts = checkouts

    def next_request(self, dice: random.Random, host: str) -> bytes:
        """The bytes of one request."""
        user = bisect(self._cumulated, dice.random() * self._cumulated[-1])
        path = (
            "/checkout"
            if dice.random() < self._checkouts
            else f"/search?q={THINGS[dice.randrange(len(THINGS))]}"
        )
        return (
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nCookie: {self._cookies[user]}\r\n\r\n"
        ).encode()


class Connection:
    """One kept-alive HTTP/1.1 connection that knows as little of HTTP as will do."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._socket: socket.socket | None = None

    def status(self, request: bytes) -> int:
        """Send a request, read its answer, return the status code.

        Raises:
            OSError: no answer; the next call connects anew.
        """
        try:
            if self._socket is None:
                self._socket = socket.create_connection(self._address, timeout=10.0)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.sendall(request)
            return self._read_answer(self._socket)
        except OSError:
            self.close()
            raise

    def _read_answer(self, connection: socket.socket) -> int:
        received = b""
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._more(connection)
        head = received[:end].lower()
        _, _, rest = head.partition(b"\r\ncontent-length:")
        missing = int(rest.split(b"\r\n", 1)[0] or 0) - (len(received) - end - 4)
        while missing > 0:
            missing -= len(self._more(connection))
        if b"\r\nconnection: close" in head:
            self.close()
        return int(head[9:12])

    @staticmethod
    def _more(connection: socket.socket) -> bytes:
        data = connection.recv(65536)
        if not data:
            raise ConnectionError("the shop closed the connection")
        return data

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Lane(threading.Thread):
    """One thread that sends its part of the rate. Only it writes ``totals``."""

    def __init__(
        self, crowd: Crowd, host: str, port: int, rate: float, stop: threading.Event
    ) -> None:
        super().__init__(daemon=True)
        self.totals = Totals()
        self._crowd = crowd
        self._host = host
        self._connection = Connection(host, port)
        self._rate = rate
        self._stop_asked = stop

    def run(self) -> None:
        dice = random.Random()
        due = 0.0
        before = time.monotonic()
        while not self._stop_asked.wait(TICK):
            now = time.monotonic()
            # What could not be sent within a second is given up: a slow machine gets a
            # lower rate, not a queue.
            due = min(due + (now - before) * self._rate, self._rate)
            before = now
            while due >= 1.0 and not self._stop_asked.is_set():
                due -= 1.0
                self._send(self._crowd.next_request(dice, self._host))
        self._connection.close()

    def _send(self, request: bytes) -> None:
        try:
            status = self._connection.status(request)
        except OSError:
            self.totals.lost += 1
            self._stop_asked.wait(0.1)
            return
        self.totals.requests += 1
        self.totals.errors += status >= 500


def main() -> None:
    """Run the traffic until it is told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--rate", type=float, default=700.0, help="requests per second")
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--logged-out", type=float, default=0.6, help="part of the users")
    parser.add_argument("--checkouts", type=float, default=0.8, help="part of the requests")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--seconds", type=float, default=None, help="default: until stopped")
    options = parser.parse_args()

    stop = threading.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: stop.set())

    url = urlsplit(options.url)
    crowd = Crowd(options.users, options.logged_out, options.checkouts, options.seed)
    lanes = [
        Lane(
            crowd,
            url.hostname or "127.0.0.1",
            url.port or 80,
            options.rate / options.threads,
            stop,
        )
        for _ in range(options.threads)
    ]
    threading.Thread(target=stop_at_end_of_input, args=(stop,), daemon=True).start()
    for lane in lanes:
        lane.start()
    end = time.monotonic() + options.seconds if options.seconds is not None else float("inf")
    while not stop.wait(min(1.0, max(0.0, end - time.monotonic()))):
        if time.monotonic() >= end:
            stop.set()
        print_totals(lanes)
    for lane in lanes:
        lane.join()
    print_totals(lanes)


def stop_at_end_of_input(stop: threading.Event) -> None:
    """Stop when standard input closes, unless it is a terminal."""
    if not sys.stdin.isatty():
        sys.stdin.read()
        stop.set()


def print_totals(lanes: list[Lane]) -> None:
    """One line of JSON with the sums of all lanes."""
    print(json.dumps(asdict(sum((lane.totals for lane in lanes), Totals()))), flush=True)


if __name__ == "__main__":
    main()
