"""A client of a stream of server-sent events."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """A server-sent event. A comment has the name ``:``. ``version``: the id, if it is one."""

    name: str
    version: int = 0
    data: Any = None
    id: str = ""


class Stream:
    """An open stream."""

    def __init__(self, port: int, path: str, headers: Mapping[str, str]) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._connection.request("GET", path, headers=dict(headers))
        self.response = self._connection.getresponse()

    def blocks(self) -> Iterator[list[str]]:
        """Yield the lines of each block, until the server ends the stream."""
        block: list[str] = []
        for line in self.response:
            text = line.decode().rstrip("\n")
            if text:
                block.append(text)
            else:
                yield block
                block = []

    def events(self) -> Iterator[Event]:
        """Yield events and comments as they arrive."""
        for block in self.blocks():
            if block[0].startswith(":"):
                yield Event(":")
                continue
            fields = dict(line.split(": ", 1) for line in block)
            if "event" in fields:
                id = fields.get("id", "")
                version = int(id) if id.isdecimal() else 0
                yield Event(fields["event"], version, json.loads(fields["data"]), id)

    def next(self, *names: str) -> Event:
        """Return the next event with one of these names."""
        return next(event for event in self.events() if event.name in names)

    def close(self) -> None:
        self.response.close()
        self._connection.close()
