"""A server, an application and callers that know what really happened: all real processes."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import urllib3

from examples.shop.admin import Admin, Refused, ReleaseStatus
from examples.shop.processes import Processes, free_port

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "tg_admin_world_0123456789abcdefghijklmnop"
CALLERS = 4
PAUSE = 0.008
PATIENCE = 120.0

Count = dict[str, tuple[int, int]]
"""For each variant: operations that ended, and how many of them with an error."""


class Callers:
    """Threads that call the application all the time and keep what its answers say."""

    def __init__(self, url: str) -> None:
        self.lost = 0
        self._url = url
        self._answers: Counter[tuple[str, str, bool]] = Counter()
        self._lock = threading.Lock()
        self._may_call = threading.Event()
        self._stop = threading.Event()
        self._busy = [threading.Lock() for _ in range(CALLERS)]
        self._threads = [
            threading.Thread(target=self._call_on, args=(busy,)) for busy in self._busy
        ]

    def start(self) -> None:
        self._may_call.set()
        for thread in self._threads:
            thread.start()

    def pause(self) -> None:
        """After this every call has got its answer, and no further one is made."""
        self._may_call.clear()
        for busy in self._busy:
            with busy:
                pass

    def resume(self) -> None:
        self._may_call.set()

    def stop(self) -> None:
        self._stop.set()
        self._may_call.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def seen(self, release: str) -> Count:
        """What the answers say of a release."""
        with self._lock:
            return {
                variant: (
                    self._answers[release, variant, False] + self._answers[release, variant, True],
                    self._answers[release, variant, True],
                )
                for variant in ("off", "on")
            }

    def _call_on(self, busy: threading.Lock) -> None:
        dice = random.Random()
        http = urllib3.PoolManager(retries=False, timeout=10.0)
        while not self._stop.wait(PAUSE):
            self._may_call.wait()
            with busy:
                if self._may_call.is_set():
                    self._call(http, f"visitor=user-{dice.randrange(20_000)}")

    def _call(self, http: urllib3.PoolManager, cookie: str) -> None:
        try:
            answer = http.request("GET", f"{self._url}/work", headers={"Cookie": cookie})
        except urllib3.exceptions.HTTPError:
            with self._lock:
                self.lost += 1
            return
        said = (answer.headers["Release"], answer.headers["Variant"], answer.status >= 500)
        with self._lock:
            self._answers[said] += 1


class World:
    """Everything that one test needs, in one folder.

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
        self, app: str = "tests.end_to_end.counted:app", *, workers: str = "gthread"
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
            },
        )
        # The process that they are forked from loaded the application too.
        self.processes.wait_for("both workers report", lambda: self.admin.live_instances() == 3)

    def wait_until(
        self, what: str, release: str, condition: Callable[[ReleaseStatus], bool]
    ) -> None:
        """Wait for a release to be as it should; a server that is away is waited for, too."""

        def holds() -> bool:
            try:
                return condition(self.admin.release(release))
            except Refused:
                return False

        self.processes.wait_for(what, holds, PATIENCE)

    def server_process(self, *words: str) -> int:
        """A process below the supervisor whose command has one of the words."""
        for pid, command in descendants(self.processes.pid("server")):
            if any(word in command for word in words):
                return pid
        raise AssertionError(f"no process of the server looks like {words}")

    def close(self) -> None:
        self.callers.stop()
        self.processes.stop()


def counted(release: ReleaseStatus) -> Count:
    """What Tidegate says of a release, in the words of ``Callers.seen``."""
    return {
        "off": (release.control.outcomes, release.control.errors),
        "on": (release.treatment.outcomes, release.treatment.errors),
    }


def descendants(root: int) -> list[tuple[int, str]]:
    """Every process below one, with its command line."""
    listed = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,ppid=,args="], check=True, capture_output=True, text=True
    )
    rows = [line.split(None, 2) for line in listed.stdout.splitlines()]
    children: dict[int, list[tuple[int, str]]] = {}
    for row in rows:
        children.setdefault(int(row[1]), []).append((int(row[0]), row[-1]))
    found = []
    waiting = [root]
    while waiting:
        for pid, command in children.get(waiting.pop(), []):
            found.append((pid, command))
            waiting.append(pid)
    return found
