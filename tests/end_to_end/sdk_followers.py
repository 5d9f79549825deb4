"""SDK clients in processes of their own that note all that they serve."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection

import tidegate

POLL_SECONDS = 0.05
PATIENCE_SECONDS = 60.0
ENVIRONMENT = ""
"""The place of the environment's version among those of flags."""


@dataclass
class Seen:
    """What one client served, in the order of time, without repetitions.

    Attributes:
        versions: of the environment, and of each flag.
        values: the last value of each flag.
    """

    versions: dict[str, list[int]] = field(default_factory=dict)
    values: dict[str, bool] = field(default_factory=dict)

    def note(self, key: str, version: int) -> None:
        versions = self.versions.setdefault(key, [])
        if not versions or versions[-1] != version:
            versions.append(version)


class SdkFollowers:
    """A process with several clients of one server.

    Args:
        url: the server, or the proxy in front of several.
        token: of an SDK.
        flags: the boolean flags to evaluate.
        clients: how many clients it has.
    """

    def __init__(self, url: str, token: str, flags: list[str], clients: int) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_follow, args=(url, token, flags, clients, theirs), daemon=True
        )
        self._process.start()
        theirs.close()

    def seen(self) -> list[Seen]:
        """Return what each client has seen until now."""
        self._pipe.send(None)
        assert self._pipe.poll(PATIENCE_SECONDS), "a process of SDKs does not answer"
        seen: list[Seen] = self._pipe.recv()
        return seen

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.join()
        self._pipe.close()


def _follow(url: str, token: str, flags: list[str], clients: int, pipe: Connection) -> None:
    followed = [(tidegate.Client(url, token), Seen()) for _ in range(clients)]
    while True:
        for client, seen in followed:
            version = client.status().version
            if version is not None:
                seen.note(ENVIRONMENT, version)
            for flag in flags:
                details = client.boolean_details(flag, False)
                if "flagVersion" in details.metadata:
                    seen.note(flag, details.metadata["flagVersion"])
                    seen.values[flag] = details.value
        if pipe.poll():
            pipe.recv()
            pipe.send([seen for _, seen in followed])
        time.sleep(POLL_SECONDS)
