"""A server, the sample shop and its visitors for development, restarted when the code changes.

``scripts/dev`` runs this module. The server uses a fixed admin token, so it only listens on
127.0.0.1. The demo data is created at the first start and kept in the data folder.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from watchfiles import DefaultFilter, watch

from examples.shop import plan
from examples.shop.admin import Refused
from examples.shop.processes import Interrupted, QuickstartFailed
from examples.shop.stack import ROOT, Stack

TOKEN = "tg_admin_development_0123456789abcdefghijkl"  # noqa: S105 - for 127.0.0.1 only
POLL_MS = 500
SOURCES = {
    "server": ("server", "client_sdk"),
    "shop": ("client_sdk", "examples"),
    "visitors": ("examples",),
}
"""The folders that each process is made of. They are in the order in which they start."""


def affected(files: Iterable[Path]) -> list[str]:
    """Return the processes to restart after a change of ``files``, in the order of their start."""
    folders = {file.relative_to(ROOT).parts[0] for file in files if file.is_relative_to(ROOT)}
    return [name for name, sources in SOURCES.items() if folders.intersection(sources)]


class Development:
    """The processes, and what to do when the code changes.

    Args:
        stack: the processes.
    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._stop = threading.Event()

    def stop(self) -> None:
        """End ``run`` soon. A signal handler may call it."""
        self._stop.set()
        self._stack.processes.interrupt(0, None)

    def run(self) -> None:
        """Start everything, and restart what a change affects, until ``stop`` is called."""
        if not self._start(list(SOURCES)):
            return
        self._start_releases()
        print(self._greeting(), flush=True)
        folders = sorted({folder for sources in SOURCES.values() for folder in sources})
        waiting: list[str] = []
        for changes in watch(
            *(ROOT / folder for folder in folders),
            watch_filter=DefaultFilter(),
            stop_event=self._stop,
            rust_timeout=POLL_MS,
            yield_on_timeout=True,
            raise_interrupt=False,
        ):
            files = [Path(path) for _, path in changes]
            if restart := affected(files):
                # A process that did not start because of an error is tried again, too.
                restart = [name for name in SOURCES if name in {*waiting, *restart}]
                names = ", ".join(sorted({str(file.relative_to(ROOT)) for file in files})[:3])
                _print(f"{names} changed: restarting {', '.join(restart)}")
                waiting = [] if self._start(restart) else restart
            elif not waiting:
                waiting = self._ended()

    def _start(self, names: list[str]) -> bool:
        start = {
            "server": self._start_server,
            "shop": self._stack.start_shop,
            "visitors": self._stack.start_visitors,
        }
        for name in reversed(names):
            self._stack.processes.stop_one(name)
        try:
            for name in names:
                start[name]()
                _print(f"{name} is running")
        except Interrupted:
            return False
        except (QuickstartFailed, Refused) as failure:
            self._report(str(failure))
            return False
        return True

    def _start_server(self) -> None:
        self._stack.start_server()
        self._stack.create_demo_data()

    def _ended(self) -> list[str]:
        """Report a process that has ended by itself, and return what to restart after a change."""
        try:
            self._stack.processes.check()
        except Interrupted:
            return []
        except QuickstartFailed as failure:
            self._report(str(failure))
            return list(SOURCES)
        return []

    def _report(self, failure: str) -> None:
        print(self._stack.processes.tails(), flush=True)
        _print(f"{failure}. Fix the code to try again, or press Ctrl-C.")

    def _start_releases(self) -> None:
        """Start a release of each demo flag, if none is active."""
        for flag in (plan.GOOD, plan.BAD):
            if self._stack.admin.targeting(flag)["release"] is None:
                self._stack.admin.start_release(
                    flag, "on", plan.POLICY["key"], "Started by scripts/dev"
                )

    def _greeting(self) -> str:
        tidegate = os.path.relpath(Path(sys.executable).with_name("tidegate"))
        logs = os.path.relpath(self._stack.processes.log("server").parent)
        return f"""
Tidegate     {self._stack.url}  (API: {self._stack.url}/openapi.json)
Shop         {self._stack.shop_url}
Admin token  {TOKEN}
Logs         {logs}/*.log

Edit the code, and the processes restart. Press Ctrl-C to stop. In another terminal:

  export TIDEGATE_URL={self._stack.url} TIDEGATE_TOKEN={TOKEN}
  {tidegate} release watch {plan.GOOD}
"""


def _print(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {line}", flush=True)


def main() -> None:
    """Parse the options and run until a signal arrives."""
    parser = argparse.ArgumentParser(prog="scripts/dev", description=__doc__)
    parser.add_argument("--port", type=int, default=8080, help="the server's port (8080)")
    parser.add_argument("--shop-port", type=int, default=8000, help="the shop's port (8000)")
    parser.add_argument(
        "--rate", type=float, default=20.0, help="requests per second of the visitors (20)"
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=ROOT / "tidegate-data" / "dev",
        help="where data and logs go (tidegate-data/dev)",
    )
    options = parser.parse_args()
    options.data_dir.mkdir(parents=True, exist_ok=True)
    stack = Stack(
        options.data_dir.resolve(),
        token=TOKEN,
        rate=options.rate,
        port=options.port,
        shop_port=options.shop_port,
    )
    development = Development(stack)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: development.stop())
    try:
        development.run()
    finally:
        print("Stopping.", flush=True)
        stack.processes.stop()


if __name__ == "__main__":
    main()
