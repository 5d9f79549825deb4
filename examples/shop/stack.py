"""The server, the shop and its visitors, as the processes of one machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from examples.shop import plan
from examples.shop.admin import Admin
from examples.shop.processes import Processes, free_port

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 2


class Stack:
    """A Tidegate server, the sample shop, and visitors who send it requests.

    Args:
        folder: where data and logs go.
        token: the admin token.
        rate: requests per second that the visitors try to send.
        port, shop_port: the ports on 127.0.0.1; free ones by default.
    """

    def __init__(
        self,
        folder: Path,
        *,
        token: str,
        rate: float,
        port: int | None = None,
        shop_port: int | None = None,
    ) -> None:
        self.processes = Processes(folder)
        self.token = token
        self.url = f"http://127.0.0.1:{port or free_port()}"
        self.shop_url = f"http://127.0.0.1:{shop_port or free_port()}"
        self.admin = Admin(self.url, token)
        self._folder = folder
        self._rate = rate
        self._sdk_token = ""
        self._traffic = (0, 0.0, 0)

    def start_server(self) -> None:
        """Start ``tidegate serve`` and wait until it is ready.

        Raises:
            QuickstartFailed: it did not start.
        """
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

    def create_demo_data(self) -> None:
        """Create the segment, the flags and the policy that do not exist yet."""
        self.admin.create_missing("segments", plan.SEGMENT)
        for flag in plan.FLAGS:
            self.admin.create_missing("flags", flag)
        self.admin.create_missing("policies", plan.POLICY)

    def start_shop(self) -> None:
        """Start the shop under gunicorn and wait until its workers report.

        Raises:
            QuickstartFailed: it did not start.
        """
        self._sdk_token = self._sdk_token or self.admin.sdk_token("shop")
        self.processes.start(
            "shop",
            [
                *(sys.executable, "-m", "gunicorn", "--preload", "--no-control-socket"),
                *("--workers", str(WORKERS), "--worker-class", "gthread", "--threads", "8"),
                *("--bind", self.shop_url.removeprefix("http://"), "examples.shop.app:app"),
            ],
            {
                "TIDEGATE_URL": self.url,
                "TIDEGATE_TOKEN": self._sdk_token,
                "TIDEGATE_APPLICATION": "shop",
                "PYTHONPATH": str(ROOT),
            },
        )
        # The parent process has loaded the application too, so it also reports.
        self.processes.wait_for(
            "the shop's workers report", lambda: self.admin.live_instances() > WORKERS
        )

    def start_visitors(self) -> None:
        """Start the visitors and wait until they have sent a request.

        Raises:
            QuickstartFailed: they did not start.
        """
        self.processes.start(
            "visitors",
            [
                *(sys.executable, "-m", "examples.shop.traffic", self.shop_url),
                *("--rate", f"{self._rate:g}"),
            ],
            {"PYTHONPATH": str(ROOT)},
        )
        self.processes.wait_for("visitors send requests", lambda: self.traffic()[0] > 0)

    def traffic(self) -> tuple[int, float, int]:
        """Return requests so far, requests per second over ten seconds, and unanswered requests."""
        lines = self.processes.log("visitors").read_text().splitlines()[-11:]
        try:
            seen = [json.loads(line) for line in lines]
        except ValueError:
            return self._traffic  # a half-written line, or an error message
        if seen:
            first, last = seen[0]["requests"], seen[-1]["requests"]
            self._traffic = (last, (last - first) / max(1, len(seen) - 1), seen[-1]["lost"])
        return self._traffic
