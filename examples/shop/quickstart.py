"""The quickstart: a server, a shop with visitors, and two releases that run automatically.

``scripts/quickstart`` runs this module. It only uses Tidegate's public interfaces: the command
line, the HTTP API and the SDK. It succeeds if the healthy release completes and the broken one
is rolled back.
"""

from __future__ import annotations

import argparse
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
from examples.shop.admin import Invitation, Refused, ReleaseStatus
from examples.shop.processes import Interrupted, QuickstartFailed
from examples.shop.stack import WORKERS, Stack
from examples.shop.view import Progress, View, count, error_rate, view_for

DEADLINE = 300.0
"""Seconds that the releases may take on a slow machine; they usually take about one minute."""
POLL = 0.5
"""Seconds between two reads of the releases."""

PATIENCE = 120.0
"""Seconds that the releases wait for somebody who watches in a browser."""

BETWEEN = 8.0
"""Seconds from the first release to the second, so that one sees the first run before."""

ENDS = {plan.GOOD: "completed", plan.BAD: "rolled_back"}


TAKEN_OVER = "A release is in your hands now, so the quickstart only watches."


@dataclass(slots=True)
class ReleaseRun:
    """One release: its latest status, when it began, its stages so far, and how long it took.

    ``began`` is a time of the monotonic clock; ``seconds`` is None while it is live.
    """

    status: ReleaseStatus
    began: float
    stages: list[str] = field(default_factory=list)
    seconds: float | None = None


class Quickstart:
    """The server, the shop, its visitors and the releases.

    Args:
        folder: where data and logs go.
        rate: requests per second that the visitors try to send.
    """

    def __init__(self, folder: Path, rate: float) -> None:
        self.stack = Stack(
            folder, token=f"tg_admin_quickstart_{secrets.token_urlsafe(24)}", rate=rate
        )
        self.processes = self.stack.processes
        self.admin = self.stack.admin
        self.runs: dict[str, ReleaseRun] = {}
        self.invitation: Invitation | None = None
        self._began = 0.0

    def set_up(self, view: View) -> None:
        """Start the server, the shop and its visitors, and create the flags and the policy.

        Raises:
            QuickstartFailed: a process did not start.
        """
        self.stack.start_server()
        view.event(f"started the server: {self.stack.url}")
        self.stack.create_demo_data()
        view.event(f"created a segment, the flags {plan.GOOD} and {plan.BAD}, and a policy")
        self.stack.start_shop()
        view.event(f"started the shop with {WORKERS} preforked workers: {self.stack.shop_url}")
        self.stack.start_visitors()
        view.event("started 20,000 visitors; six in ten are not logged in")
        self.invitation = self.admin.invite(
            "you@example.com", "You", "/p/default/e/production/releases"
        )
        view.say(f"Watch in a browser; this link signs you in: {self.invitation.link}")

    def wait_for_a_viewer(self, view: View) -> None:
        """Wait until somebody has signed in, but not for ever."""
        assert self.invitation is not None
        view.event(f"the releases start when you have signed in, at the latest in {PATIENCE:g} s")
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and not self.admin.has_signed_in(self.invitation):
            self.processes.check()
            time.sleep(POLL)

    def run(self, view: View, *, once: bool) -> bool:
        """Start both releases and follow them until both have ended, or a person takes one over.

        Args:
            view: shows what happens.
            once: nobody is expected to take over a release; then it counts as a failure.

        Returns:
            Whether both ended by themselves.

        Raises:
            QuickstartFailed: a release ended in the wrong state, or not in time.
        """
        self._began = time.monotonic()
        for number, flag in enumerate(ENDS):
            if number:
                self._watch_for(BETWEEN, view)
            status = self.admin.start_release(
                flag, "on", plan.POLICY["key"], "Started by the quickstart"
            )
            self.runs[flag] = ReleaseRun(status, time.monotonic(), [status.audience])
            view.event(f"{flag}: release started, open to {status.audience}")
        while not all(release_run.status.ended for release_run in self.runs.values()):
            if not once and (taken := self._taken_over()):
                view.event(f"{taken.flag}: {taken.state.replace('_', ' ')} by {taken.state_by}")
                return False
            if time.monotonic() - self._began > DEADLINE:
                raise QuickstartFailed(f"the releases have not ended after {DEADLINE:g} seconds")
            self._watch_for(POLL, view)
        if not once and self._taken_over():
            return False
        for flag, release_run in self.runs.items():
            if release_run.status.state != ENDS[flag]:
                raise QuickstartFailed(
                    f"the release of {flag} should be {ENDS[flag]}, but it is "
                    f"{release_run.status.state}: {release_run.status.reason}"
                )
        return True

    def _taken_over(self) -> ReleaseStatus | None:
        """Return a release that a person has paused, killed or ended."""
        found = (each.status for each in self.runs.values() if each.status.taken_over)
        return next(found, None)

    def _watch_for(self, seconds: float, view: View) -> None:
        """Follow the releases for some time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(POLL)
            self.processes.check()
            for release_run in self.runs.values():
                if not release_run.status.ended:
                    self._follow(release_run, view)
            view.show(self._progress())

    def watch(self) -> None:
        """Print what happens to the flags, until interrupted."""
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
                        f"applied by {applied} of {live} instances of the shop"
                    )
                elif targeting["release"]:
                    release = self.admin.release(targeting["release"])
                    state = f"{release.state}, {release.audience}"
                if state != known[flag]:
                    known[flag] = state
                    print(
                        f"{time.strftime('%H:%M:%S')}  {flag}: {state or 'no release'}", flush=True
                    )
            self.processes.check()
            time.sleep(POLL)

    def _follow(self, release_run: ReleaseRun, view: View) -> None:
        before = release_run.status
        status = release_run.status = self.admin.release(before.id)
        if (status.stage, status.state) == (before.stage, before.state):
            return
        if status.stage != before.stage:
            release_run.stages.append(status.audience)
        if status.ended:
            release_run.seconds = time.monotonic() - release_run.began
        what = status.audience if status.state == "running" else status.state.replace("_", " ")
        view.event(f"{status.flag}: {what} - {status.reason or status.decision}")

    def _progress(self) -> Progress:
        requests, per_second, lost = self.stack.traffic()
        releases = [release_run.status for release_run in self.runs.values()]
        return Progress(releases, requests, per_second, lost)


def summary(runs: dict[str, ReleaseRun]) -> str:
    """Return a summary of both releases."""
    good, bad = runs[plan.GOOD], runs[plan.BAD]
    control, treatment = bad.status.control, bad.status.treatment
    searches = (control.outcomes + treatment.outcomes) / (bad.seconds or 1.0)
    excess = max(0.0, (treatment.error_rate or 0.0) - (control.error_rate or 0.0))
    return "\n".join(
        [
            f"{plan.GOOD} completed after {good.seconds or 0.0:.0f} seconds:",
            f"  {' > '.join(good.stages)}",
            f"  error rate: control {error_rate(good.status.control)}, "
            f"treatment {error_rate(good.status.treatment)}; "
            f"{good.status.control.outcomes + good.status.treatment.outcomes:,} operations",
            f"{plan.BAD} was rolled back after {bad.seconds or 0.0:.0f} seconds, with "
            f"{count(treatment.failing, 'failing user')}:",
            f"  {' > '.join(bad.stages)} > rolled back",
            f"  open to everyone, about {excess * searches * 60:,.0f} searches a minute would have "
            "failed at this traffic",
        ]
    )


def next_steps(quickstart: Quickstart) -> str:
    """Return the addresses, the token, and three things to try, ready to paste."""
    tidegate = os.path.relpath(Path(sys.executable).with_name("tidegate"))
    bad = quickstart.runs[plan.BAD].status.id
    assert quickstart.invitation is not None
    return f"""
Everything keeps running until you press Ctrl-C.

  Dashboard    {quickstart.invitation.link}
               (it signs you in once; `tidegate person invite you@example.com` makes another)
               Try the kill switch there: Flags, {plan.GOOD}, Kill.
  API          {quickstart.stack.url}/openapi.json
  Shop         {quickstart.stack.shop_url}
  Admin token  {quickstart.stack.token}

Three things to try in another terminal, in this folder:

  export TIDEGATE_URL={quickstart.stack.url} TIDEGATE_TOKEN={quickstart.stack.token}

  1. Use the kill switch: everyone gets the old checkout at once, until you restore the flag.
       {tidegate} kill {plan.GOOD} --reason "trying the kill switch"
       {tidegate} restore {plan.GOOD} --reason "tried it"
  2. See why {plan.BAD} was rolled back: every decision with its evidence.
       {tidegate} release ledger {bad}
  3. Release {plan.BAD} again, and watch here how it is rolled back.
       {tidegate} release start {plan.BAD} --treatment on --policy {plan.POLICY["key"]}
"""


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Create a folder, and remove it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="tidegate-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(once: bool, rate: float, console: Console) -> int:
    """Run the quickstart; returns the exit status. Leaves no process and no folder behind."""
    with temporary_folder() as folder:
        quickstart = Quickstart(folder, rate)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, quickstart.processes.interrupt)
        ended = False
        try:
            with view_for(console) as view:
                quickstart.set_up(view)
                if console.is_terminal and not once:
                    quickstart.wait_for_a_viewer(view)
                alone = quickstart.run(view, once=once)
            ended = True
            print("\n" + (summary(quickstart.runs) if alone else TAKEN_OVER), flush=True)
            if not once:
                print(next_steps(quickstart), flush=True)
                quickstart.watch()
        except Interrupted:
            print("\nStopping.", flush=True)
        except (QuickstartFailed, Refused) as failure:
            print(f"\nThe quickstart failed: {failure}\n{quickstart.processes.tails()}", flush=True)
            return 1
        finally:
            quickstart.processes.stop()
    return 0 if ended else 130


def main() -> None:
    """Parse the options and run the quickstart."""
    parser = argparse.ArgumentParser(prog="scripts/quickstart", description=__doc__)
    parser.add_argument(
        "--once",
        action="store_true",
        help="stop after the releases; exit status 0 if both ended as expected",
    )
    parser.add_argument(
        "--rate",
        type=float,
        default=1000.0,
        help="requests per second, if the machine can send as many",
    )
    options = parser.parse_args()
    sys.exit(run(options.once, options.rate, Console()))


if __name__ == "__main__":
    main()
