"""The quickstart: a server, a shop, its visitors, and two releases that decide for themselves.

``scripts/quickstart`` runs this module. Everything goes through Tidegate's public interfaces:
its command line, its HTTP API, its SDK. The story is over when both releases are; its end is
good only if the healthy one completed and the broken one was rolled back.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from examples.shop import plan
from examples.shop.admin import Admin, Refused, ReleaseNow
from examples.shop.processes import Interrupted, Processes, StoryFailed, free_port
from examples.shop.view import Scene, View, view_for

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 2
DEADLINE = 300.0
"""Seconds that the story may take on a slow machine; it usually needs about one minute."""
POLL = 0.5
"""Seconds between two looks at the releases."""

ENDS = {plan.GOOD: "completed", plan.BAD: "rolled_back"}


@dataclass(slots=True)
class Course:
    """How one release went so far: the stages it was seen in, and when it ended."""

    now: ReleaseNow
    stages: list[str] = field(default_factory=list)
    seconds: float | None = None


class Quickstart:
    """All that runs during one story.

    Args:
        folder: where data and logs go.
        rate: requests per second that the visitors try to send.
    """

    def __init__(self, folder: Path, rate: float) -> None:
        self.processes = Processes(folder)
        self.token = f"tg_admin_quickstart_{secrets.token_urlsafe(24)}"
        self.url = f"http://127.0.0.1:{free_port()}"
        self.shop_url = f"http://127.0.0.1:{free_port()}"
        self.admin = Admin(self.url, self.token)
        self.courses: dict[str, Course] = {}
        self._folder = folder
        self._rate = rate
        self._traffic = (0, 0.0, 0)
        self._began = 0.0

    def set_up(self, view: View) -> None:
        """Start everything up to the visitors, and write the flags and the policy.

        Raises:
            StoryFailed: a process did not come up.
        """
        self._start_server()
        view.event(f"tidegate serve is ready: {self.url}")
        self.admin.create("segments", plan.SEGMENT)
        for flag in plan.FLAGS:
            self.admin.create("flags", flag)
        self.admin.create("policies", plan.POLICY)
        view.event(f"wrote the segment, the flags {plan.GOOD} and {plan.BAD}, and their policy")
        self._start_shop()
        view.event(f"the shop is open, with {WORKERS} preforked workers: {self.shop_url}")
        self._start_visitors()
        view.event("20,000 visitors are around; six in ten are not logged in")

    def run(self, view: View) -> None:
        """Start both releases and watch until both are over.

        Raises:
            StoryFailed: one did not end as it must, or not in time.
        """
        self._began = time.monotonic()
        for flag in ENDS:
            now = self.admin.start_release(flag, "on", plan.POLICY["key"], "The quickstart's story")
            self.courses[flag] = Course(now, [now.audience])
            view.event(f"{flag}: released to {now.audience}")
        while not all(course.now.ended for course in self.courses.values()):
            if time.monotonic() - self._began > DEADLINE:
                raise StoryFailed(f"the releases were not over after {DEADLINE:g} seconds")
            time.sleep(POLL)
            self.processes.check()
            for course in self.courses.values():
                if not course.now.ended:
                    self._follow(course, view)
            view.show(self._scene())
        for flag, course in self.courses.items():
            if course.now.state != ENDS[flag]:
                raise StoryFailed(
                    f"{flag} should have ended as {ENDS[flag]}, but it is {course.now.state}: "
                    f"{course.now.reason}"
                )

    def watch(self) -> None:
        """Tell what people do to the flags, until somebody interrupts."""
        known = dict.fromkeys(ENDS, "")
        while True:
            for flag in ENDS:
                targeting = self.admin.targeting(flag)
                kill = targeting["killed"]
                state = ""
                if kill:
                    receipt = targeting["receipt"] or {}
                    applied, live = receipt.get("applied"), receipt.get("live")
                    state = (
                        f"killed by {kill['actor']} ({kill['reason']}); "
                        f"{applied} of {live} processes of the shop have applied it"
                    )
                elif targeting["release"]:
                    release = self.admin.release(targeting["release"])
                    state = f"{release.state}, {release.audience}"
                if state != known[flag]:
                    known[flag] = state
                    print(f"{time.strftime('%H:%M:%S')}  {flag}: {state or 'at rest'}", flush=True)
            self.processes.check()
            time.sleep(POLL)

    def _follow(self, course: Course, view: View) -> None:
        before = course.now
        now = course.now = self.admin.release(before.id)
        if (now.stage, now.state) == (before.stage, before.state):
            return
        if now.stage != before.stage:
            course.stages.append(now.audience)
        if now.ended:
            course.seconds = time.monotonic() - self._began
        what = now.audience if now.state == "running" else now.state.replace("_", " ")
        view.event(f"{now.flag}: {what} - {now.reason or now.decision}")

    def _scene(self) -> Scene:
        requests, per_second, lost = self._read_traffic()
        releases = [course.now for course in self.courses.values()]
        return Scene(releases, requests, per_second, lost)

    def _read_traffic(self) -> tuple[int, float, int]:
        """Requests so far, per second over the last ten seconds, and those without an answer."""
        lines = self.processes.log("visitors").read_text().splitlines()[-11:]
        try:
            seen = [json.loads(line) for line in lines]
        except ValueError:
            return self._traffic  # half a line was written, or an error: the log has it
        if seen:
            first, last = seen[0]["requests"], seen[-1]["requests"]
            self._traffic = (last, (last - first) / max(1, len(seen) - 1), seen[-1]["lost"])
        return self._traffic

    def _start_server(self) -> None:
        self.processes.start(
            "server",
            [str(Path(sys.executable).with_name("tidegate")), "serve"],
            {
                "TIDEGATE_HOST": "127.0.0.1",
                "TIDEGATE_PORT": self.url.rpartition(":")[2],
                "TIDEGATE_WORKERS": "1",
                "TIDEGATE_DATA_DIR": str(self._folder / "data"),
                "TIDEGATE_BOOTSTRAP_TOKEN": self.token,
            },
        )
        self.processes.wait_for("the server is ready", self.admin.ready)

    def _start_shop(self) -> None:
        self.processes.start(
            "shop",
            [
                *(sys.executable, "-m", "gunicorn", "--preload", "--no-control-socket"),
                *("--workers", str(WORKERS), "--worker-class", "gthread", "--threads", "8"),
                *("--bind", self.shop_url.removeprefix("http://"), "examples.shop.app:app"),
            ],
            {
                "TIDEGATE_URL": self.url,
                "TIDEGATE_TOKEN": self.admin.sdk_token("shop"),
                "PYTHONPATH": str(ROOT),
            },
        )
        # The process that they are forked from loaded the application too.
        self.processes.wait_for(
            "the shop's workers report", lambda: self.admin.live_instances() > WORKERS
        )

    def _start_visitors(self) -> None:
        self.processes.start(
            "visitors",
            [
                *(sys.executable, "-m", "examples.shop.traffic", self.shop_url),
                *("--rate", f"{self._rate:g}"),
            ],
            {"PYTHONPATH": str(ROOT)},
        )
        self.processes.wait_for("visitors come", lambda: self._read_traffic()[0] > 0)


def summary(courses: dict[str, Course]) -> str:
    """What happened, in a few lines."""
    good, bad = courses[plan.GOOD], courses[plan.BAD]
    control, treatment = bad.now.control, bad.now.treatment
    searches = (control.outcomes + treatment.outcomes) / (bad.seconds or 1.0)
    excess = max(0.0, (treatment.error_rate or 0.0) - (control.error_rate or 0.0))
    return "\n".join(
        [
            f"{plan.GOOD} reached everyone and completed in {good.seconds or 0.0:.0f} seconds:",
            f"  {' > '.join(good.stages)}",
            f"  errors {good.now.control.error_rate or 0.0:.2%} in control, "
            f"{good.now.treatment.error_rate or 0.0:.2%} in treatment, "
            f"{good.now.control.outcomes + good.now.treatment.outcomes:,} operations",
            f"{plan.BAD} was rolled back after {bad.seconds or 0.0:.0f} seconds: "
            f"{treatment.failing} users had failed in it",
            f"  {' > '.join(bad.stages)} > rolled back",
            f"  open to everyone, about {excess * searches * 60:,.0f} searches a minute would "
            f"have failed at this traffic",
        ]
    )


def invitation(quickstart: Quickstart) -> str:
    """The address, the token, and three things to try, as they can be pasted."""
    tidegate = os.path.relpath(Path(sys.executable).with_name("tidegate"))
    bad = quickstart.courses[plan.BAD].now.id
    return f"""
Everything stays up until Ctrl-C.

  Tidegate    {quickstart.url}          (API: {quickstart.url}/openapi.json)
  the shop    {quickstart.shop_url}
  admin token {quickstart.token}

Three things to try, in another terminal in this folder:

  export TIDEGATE_URL={quickstart.url} TIDEGATE_TOKEN={quickstart.token}

  1. The kill switch: everyone gets the old checkout at once, until you restore it.
       {tidegate} kill {plan.GOOD} --reason "trying the switch"
       {tidegate} restore {plan.GOOD} --reason "seen it"
  2. Read why {plan.BAD} was closed: every decision, with the evidence it saw.
       {tidegate} release ledger {bad}
  3. Release {plan.BAD} once more, and watch it here being closed again.
       {tidegate} release start {plan.BAD} --treatment on --policy {plan.POLICY["key"]}
"""


@contextmanager
def own_folder() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="tidegate-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def tell(once: bool, rate: float, console: Console) -> int:
    """Run the story; returns the exit status. Leaves no process and no folder behind."""
    with own_folder() as folder:
        quickstart = Quickstart(folder, rate)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, quickstart.processes.interrupt)
        over = False
        try:
            with view_for(console) as view:
                quickstart.set_up(view)
                quickstart.run(view)
            over = True
            print("\n" + summary(quickstart.courses), flush=True)
            if not once:
                print(invitation(quickstart), flush=True)
                quickstart.watch()
        except Interrupted:
            print("\nStopping.", flush=True)
        except (StoryFailed, Refused) as failure:
            print(f"\nThe story failed: {failure}\n{quickstart.processes.tails()}", flush=True)
            return 1
        finally:
            quickstart.processes.stop()
    return 0 if over else 130


def main() -> None:
    """Read the options and tell the story."""
    parser = argparse.ArgumentParser(prog="scripts/quickstart", description=__doc__)
    parser.add_argument(
        "--once", action="store_true", help="end after the story; exit 0 only if it went well"
    )
    parser.add_argument(
        "--rate", type=float, default=1000.0, help="requests per second, if the machine allows"
    )
    options = parser.parse_args()
    sys.exit(tell(options.once, options.rate, Console()))


if __name__ == "__main__":
    main()
