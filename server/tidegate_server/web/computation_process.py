"""A child process that computes for a web process; ``computations`` starts it.

It reads pickled calls from a socket and writes their results. Both ends are this program, and
nobody else has the socket.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tidegate_server.errors import TidegateError

HEADER = struct.Struct("!Q")
IDLE_SECONDS = 300.0
"""A process that nobody asks for this long ends; the next computation starts another."""

NICENESS = 10
"""Computations take the time that serving requests leaves."""


@dataclass(frozen=True, slots=True)
class Call:
    """What to compute, and the seconds after which the process ends itself."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    deadline_seconds: float


@dataclass(frozen=True, slots=True)
class Returned:
    """What a call returned."""

    value: Any


@dataclass(frozen=True, slots=True)
class Raised:
    """What a call raised: one of the server's own errors, or the traceback of another."""

    error: TidegateError | None
    traceback: str = ""


def send(connection: socket.socket, message: object) -> None:
    """Send a message."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    connection.sendall(HEADER.pack(len(data)))
    connection.sendall(data)


def receive(connection: socket.socket) -> Any:
    """Receive a message.

    Raises:
        EOFError: the other process has ended.
    """
    (length,) = HEADER.unpack(_receive_exactly(connection, HEADER.size))
    return pickle.loads(_receive_exactly(connection, length))  # noqa: S301 - our own process


def _receive_exactly(connection: socket.socket, length: int) -> bytearray:
    data = bytearray(length)
    view, received = memoryview(data), 0
    while received < length:
        count = connection.recv_into(view[received:])
        if count == 0:
            raise EOFError
        received += count
    return data


def compute(call: Call) -> Returned | Raised:
    """Make a call."""
    try:
        return Returned(call.function(*call.arguments))
    except TidegateError as error:
        return Raised(error)
    except Exception:
        return Raised(None, traceback.format_exc())


def main() -> None:
    """Compute until the web process has ended."""
    os.nice(NICENESS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = socket.socket(fileno=int(sys.argv[1]))
    with suppress(EOFError, OSError):
        while True:
            connection.settimeout(IDLE_SECONDS)
            call = receive(connection)
            # Should the web process be gone, nobody else ends a computation that never does.
            signal.setitimer(signal.ITIMER_REAL, call.deadline_seconds)
            answer = compute(call)
            signal.setitimer(signal.ITIMER_REAL, 0)
            connection.settimeout(None)
            send(connection, answer)
