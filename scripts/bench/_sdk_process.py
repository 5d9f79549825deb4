"""A process with the SDK that prints when its flags have changed.

It imports nothing else: a hundred of them start within seconds.
"""

from __future__ import annotations

import sys
import time
from contextlib import closing

import tidegate

PATIENCE_SECONDS = 120.0


def main(url: str, token: str) -> None:
    """Print the time of each change, by the machine's monotonic clock, and first when ready."""

    def note(event: tidegate.ClientEvent) -> None:
        if event.kind == "changed":
            print(time.monotonic(), flush=True)

    with closing(tidegate.Client(url, token)) as client:
        client.wait_until_ready(PATIENCE_SECONDS)
        client.listen(note)
        print(time.monotonic(), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
