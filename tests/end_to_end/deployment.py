"""A server, an application and its callers, all in real processes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import urllib3

from examples.shop.admin import Admin, Refused, ReleaseStatus
from examples.shop.processes import Processes, free_port
from tests.child_processes import runs
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "tg_admin_world_0123456789abcdefghijklmnop"
CALLERS = 4
PAUSE_SECONDS = 0.008
PATIENCE_SECONDS = 120.0

Counts = dict[str, tuple[int, int]]
"""For each variant: the operations that ended, and how many of them failed."""


class Callers:
    """Threads that call the application continuously and count its responses."""

    def __init__(self, url: str) -> None:
        self.lost = 0
        self._url = url
        self._responses: Counter[tuple[str, str, str, bool]] = Counter()
        self._lock = threading.Lock()
        self._running = threading.Event()
        self._stop = threading.Event()
        self._busy = [threading.Lock() for _ in range(CALLERS)]
        self._threads = [threading.Thread(target=self._run, args=(busy,)) for busy in self._busy]

    def start(self) -> None:
        self._running.set()
        for thread in self._threads:
            thread.start()

    def pause(self) -> None:
        """Start no more calls, and return when every call has its response."""
        self._running.clear()
        for busy in self._busy:
            with busy:
                pass

    def resume(self) -> None:
        self._running.set()

    def stop(self) -> None:
        self._stop.set()
        self._running.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def counts(self, release: str) -> Counts:
        """Return the counts of a release according to the responses."""
        each = self.counts_by_process(release).values()
        return {
            variant: (sum(one[variant][0] for one in each), sum(one[variant][1] for one in each))
            for variant in ("off", "on")
        }

    def counts_by_process(self, release: str) -> dict[str, Counts]:
        """Return the counts of a release for each process of the application that responded."""
        with self._lock:
            responses = self._responses.copy()
        return {
            process: {
                variant: (
                    responses[process, release, variant, False]
                    + responses[process, release, variant, True],
                    responses[process, release, variant, True],
                )
                for variant in ("off", "on")
            }
            for process in {process for process, *_ in responses}
        }

    def _run(self, busy: threading.Lock) -> None:
        dice = random.Random()
        http = urllib3.PoolManager(retries=False, timeout=60.0)
        while not self._stop.wait(PAUSE_SECONDS):
            self._running.wait()
            with busy:
                if self._running.is_set():
                    self._call(http, f"visitor=user-{dice.randrange(20_000)}")

    def _call(self, http: urllib3.PoolManager, cookie: str) -> None:
        # A connection that stays open would always reach the same process.
        sent = {"Cookie": cookie, "Connection": "close"}
        try:
            response = http.request("GET", f"{self._url}/work", headers=sent)
        except urllib3.exceptions.HTTPError:
            with self._lock:
                self.lost += 1
            return
        headers = response.headers
        with self._lock:
            answer = (headers["Process"], headers["Release"], headers["Variant"])
            self._responses[*answer, response.status >= 500] += 1


class Deployment:
    """A server, an application and its callers, with their data in one folder.

    Args:
        folder: for data and logs.
    """

    def __init__(self, folder: Path) -> None:
        self.processes = Processes(folder)
        self.url = f"http://127.0.0.1:{free_port()}"
        self.application_url = f"http://127.0.0.1:{free_port()}"
        self.admin = Admin(self.url, TOKEN)
        self.callers = Callers(self.application_url)
        self._folder = folder
        self._broken = folder / "broken"

    def start_server(self) -> None:
        self.processes.start(
            "server",
            [str(Path(sys.executable).with_name("tidegate")), "serve"],
            {
                "TIDEGATE_HOST": "127.0.0.1",
                "TIDEGATE_PORT": self.url.rpartition(":")[2],
                "TIDEGATE_WORKERS": "1",
                "TIDEGATE_DATA_DIR": str(self._folder / "data"),
                "TIDEGATE_BOOTSTRAP_TOKEN": TOKEN,
            },
        )
        self.processes.wait_for("the server is ready", self.admin.ready)

    def start_application(
        self, app: str = "tests.end_to_end.checkout_app:app", *, workers: str = "gthread"
    ) -> None:
        self.processes.start(
            "application",
            [
                *(sys.executable, "-m", "gunicorn", "--preload", "--no-control-socket"),
                *("--workers", "2", "--worker-class", workers, "--threads", "4"),
                *("--bind", self.application_url.removeprefix("http://")),
                app,
            ],
            {
                "TIDEGATE_URL": self.url,
                "TIDEGATE_TOKEN": self.admin.sdk_token("application"),
                "PYTHONPATH": str(ROOT),
                "BROKEN": str(self._broken),
            },
        )
        # The third instance is gunicorn's main process, which loads the application and forks.
        self.processes.wait_for("both workers report", lambda: self.admin.live_instances() == 3)

    def break_treatment(self) -> None:
        """Let every operation with the treatment fail from now on."""
        self._broken.touch()

    def wait_until(
        self, what: str, release: str, condition: Callable[[ReleaseStatus], bool]
    ) -> None:
        """Wait until a condition on a release holds, even while the server restarts."""

        def holds() -> bool:
            try:
                return condition(self.admin.release(release))
            except Refused:
                return False

        self.processes.wait_for(what, holds, PATIENCE_SECONDS)

    def server_process(self, *words: str) -> int:
        """Return the id of a process of the server whose command contains one of the words."""
        for pid, command in descendants(self.processes.pid("server")):
            if any(word in command for word in words):
                return pid
        raise AssertionError(f"no process of the server has {words} in its command")

    def kill_server(self) -> None:
        """Kill the server, and return when its processes have ended, too, except its store.

        They notice the end of the server, which takes a moment: until then reports are counted.
        """
        pid = self.processes.pid("server")
        below = [each for each, command in descendants(pid) if "tidegate_server" in command]
        assert below
        os.kill(pid, signal.SIGKILL)
        until(lambda: not any(runs(each) for each in below), "its processes end")

    def close(self) -> None:
        self.callers.stop()
        self.processes.stop()


def tidegate_counts(release: ReleaseStatus) -> Counts:
    """Return the counts of a release according to Tidegate."""
    return {
        "off": (release.control.outcomes, release.control.errors),
        "on": (release.treatment.outcomes, release.treatment.errors),
    }


def descendants(root: int) -> list[tuple[int, str]]:
    """Return the id and command of every process below one."""
    result = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,ppid=,args="], check=True, capture_output=True, text=True
    )
    rows = [line.split(None, 2) for line in result.stdout.splitlines()]
    children: dict[int, list[tuple[int, str]]] = {}
    for row in rows:
        children.setdefault(int(row[1]), []).append((int(row[0]), row[-1]))
    below = []
    parents = [root]
    while parents:
        for pid, command in children.get(parents.pop(), []):
            below.append((pid, command))
            parents.append(pid)
    return below
