"""Visitors of the sample shop: twenty thousand users, some far more active than others.

Run it with ``python -m examples.shop.traffic URL --rate 700``. A few threads, each with one
persistent connection, send requests at the given rate, or slower if the machine cannot keep up.
Once a second it prints the totals since the start as a line of JSON. It ends on SIGTERM, after
--seconds, or when its standard input closes because its parent process has ended.
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

PRODUCTS = ("lamp", "chair", "teapot", "rug", "mirror", "clock")
TICK = 0.02
"""Seconds between two bursts of a thread; a shorter time needs more wake-ups."""


@dataclass(slots=True)
class Totals:
    """Totals since the start; ``lost`` requests got no answer."""

    requests: int = 0
    errors: int = 0
    lost: int = 0

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            self.requests + other.requests, self.errors + other.errors, self.lost + other.lost
        )


class Crowd:
    """Users who send requests at random, each according to their activity.

    Args:
        users: the number of users.
        logged_out: the share of users who are not logged in.
        checkouts: the share of requests to the checkout; the others are searches.
        seed: the same seed makes the same users.
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

    def next_request(self, random_source: random.Random, host: str) -> bytes:
        """Return the bytes of the next request."""
        user = bisect(self._cumulated, random_source.random() * self._cumulated[-1])
        path = (
            "/checkout"
            if random_source.random() < self._checkouts
            else f"/search?q={PRODUCTS[random_source.randrange(len(PRODUCTS))]}"
        )
        return (
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nCookie: {self._cookies[user]}\r\n\r\n"
        ).encode()


class Connection:
    """A persistent HTTP/1.1 connection with just enough of HTTP."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._socket: socket.socket | None = None

    def status(self, request: bytes) -> int:
        """Send a request, read the response and return its status code.

        Raises:
            OSError: there is no response; the next call connects again.
        """
        try:
            if self._socket is None:
                self._socket = socket.create_connection(self._address, timeout=10.0)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.sendall(request)
            return self._read_response(self._socket)
        except OSError:
            self.close()
            raise

    def _read_response(self, connection: socket.socket) -> int:
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
        """Close the connection; the next request opens a new one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Sender(threading.Thread):
    """A thread that sends its share of the requests. Only this thread writes ``totals``."""

    def __init__(
        self, crowd: Crowd, host: str, port: int, rate: float, stop: threading.Event
    ) -> None:
        super().__init__(daemon=True)
        self.totals = Totals()
        self._crowd = crowd
        self._host = host
        self._connection = Connection(host, port)
        self._rate = rate
        self._stop = stop

    def run(self) -> None:
        random_source = random.Random()
        due = 0.0
        before = time.monotonic()
        while not self._stop.wait(TICK):
            now = time.monotonic()
            # Drop what could not be sent within a second: a slow machine gets a lower rate,
            # not a queue.
            due = min(due + (now - before) * self._rate, self._rate)
            before = now
            while due >= 1.0 and not self._stop.is_set():
                due -= 1.0
                self._send(self._crowd.next_request(random_source, self._host))
        self._connection.close()

    def _send(self, request: bytes) -> None:
        try:
            status = self._connection.status(request)
        except OSError:
            self.totals.lost += 1
            self._stop.wait(0.1)
            return
        self.totals.requests += 1
        self.totals.errors += status >= 500


def main() -> None:
    """Send requests until asked to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--rate", type=float, default=700.0, help="requests per second")
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--logged-out", type=float, default=0.6, help="share of the users")
    parser.add_argument("--checkouts", type=float, default=0.8, help="share of the requests")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--seconds", type=float, default=None, help="default: until stopped")
    options = parser.parse_args()

    stop = threading.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: stop.set())

    url = urlsplit(options.url)
    crowd = Crowd(options.users, options.logged_out, options.checkouts, options.seed)
    senders = [
        Sender(
            crowd,
            url.hostname or "127.0.0.1",
            url.port or 80,
            options.rate / options.threads,
            stop,
        )
        for _ in range(options.threads)
    ]
    threading.Thread(target=stop_at_end_of_input, args=(stop,), daemon=True).start()
    for sender in senders:
        sender.start()
    end = time.monotonic() + options.seconds if options.seconds is not None else float("inf")
    while not stop.wait(min(1.0, max(0.0, end - time.monotonic()))):
        if time.monotonic() >= end:
            stop.set()
        print_totals(senders)
    for sender in senders:
        sender.join()
    print_totals(senders)


def stop_at_end_of_input(stop: threading.Event) -> None:
    """Stop when standard input closes, unless it is a terminal."""
    if not sys.stdin.isatty():
        sys.stdin.read()
        stop.set()


def print_totals(senders: list[Sender]) -> None:
    """Print the totals of all threads as one line of JSON."""
    print(json.dumps(asdict(sum((sender.totals for sender in senders), Totals()))), flush=True)


if __name__ == "__main__":
    main()
