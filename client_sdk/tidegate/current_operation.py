"""Which operation evaluations belong to at present.

The current operation lives in a context variable: one for each thread, task or greenlet. A
generator has none of its own: while it is paused at a ``yield``, what it has set is set in its
caller. So the operation of a block in a generator is entered as a ``Held`` one, which is the
current one only while the generator runs.
"""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from functools import cache
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, TypeAlias

from tidegate.runtime.late_imports import load

if TYPE_CHECKING:
    from tidegate.operation import Operation

GENERATORS: int = 0x20 | 0x200
"""``inspect.CO_GENERATOR`` and ``CO_ASYNC_GENERATOR``; to import ``inspect`` takes long."""

ENTER_CONTEXT: CodeType = contextlib.ExitStack.enter_context.__code__
"""What enters a block for an ``ExitStack``, and for an asynchronous one."""

AFTER_AWAIT = 3

CALLERS_OF_ONE_STEP: frozenset[str] = frozenset(
    {"contextlib", "_pytest.fixtures", "pytest_asyncio.plugin"}
)
"""Modules that make a block or a fixture of a generator: its ``yield`` is the block's body."""


class Held:
    """An operation as an entry of the context variable where it is not simply the current one.

    It stands there if its block is in a generator, or within the operation of one. It has no
    ``context`` and no ``exposures``: so ``Client.boolean``, which reads them at once, fails and
    asks ``current_operation``.
    """

    __slots__ = ("frame", "operation", "outer", "paused")

    def __init__(self, operation: Operation, frame: FrameType | None, outer: Entry) -> None:
        self.operation: Operation = operation
        self.outer: Entry = outer
        self.frame: FrameType | None = frame
        self.paused: list[Held] = []
        while isinstance(outer, Held):
            if outer.is_paused():
                self.paused.append(outer)
            outer = outer.outer

    def is_paused(self) -> bool:
        """Return whether the block is in a generator that waits at a ``yield``."""
        frame = self.frame
        return frame is not None and frame.f_back is None and not _awaits(frame)

    def innermost(self) -> Operation | None:
        """Return the operation whose block or generator is running."""
        entry: Entry = self
        while isinstance(entry, Held):
            for held in entry.paused:
                # It was paused when this operation began; it runs again within it.
                if not held.operation.ended and not held.is_paused():
                    return held.operation
            if not entry.operation.ended and not entry.is_paused():
                return entry.operation
            entry = nearest_open(entry.outer)
        return entry


Entry: TypeAlias = "Operation | Held | None"

current: ContextVar[Entry] = ContextVar("tidegate-operation", default=None)


def current_operation() -> Operation | None:
    """Return the operation in which evaluations happen now; None outside of one."""
    entry = current.get()
    return entry.innermost() if isinstance(entry, Held) else entry


def nearest_open(entry: Entry) -> Entry:
    """Return an entry, or the nearest one around it whose operation has not ended."""
    while entry is not None:
        operation = entry.operation if isinstance(entry, Held) else entry
        if not operation.ended:
            break
        entry = operation.outer
    return entry


def generator_of(frame: FrameType | None) -> FrameType | None:
    """Return the frame of the generator that a block is in; None if it is in none.

    Args:
        frame: the frame that enters the block. A context manager made of a generator counts as
            a part of the block that uses it.
    """
    while frame is not None:
        caller = frame.f_back
        if frame.f_code.co_flags & GENERATORS:
            if caller is None or _module(caller) not in CALLERS_OF_ONE_STEP:
                return frame
        elif _module(frame) != "contextlib":
            return None
        frame = caller
    return None


def _module(frame: FrameType) -> Any:
    return frame.f_globals.get("__name__")


def _awaits(frame: FrameType) -> bool:
    """Return whether the frame of a generator that does not run waits in an ``await``.

    Then it still works, and a task or thread that it waits for belongs to its operation. Python
    tells this only by the instruction at which the generator goes on: RESUME, whose argument
    says after what. (``inspect`` would need the generator, which has no way from its frame.)
    """
    code, at = frame.f_code.co_code, frame.f_lasti
    for place in (at, at + 2):  # since Python 3.13 it is the frame's present instruction
        if code[place : place + 1] == _resume():
            return code[place + 1] & 3 == AFTER_AWAIT
    return False


@cache
def _resume() -> bytes:
    """Return the instruction RESUME. Few processes need it, so ``opcode`` is a late import."""
    return bytes([load("opcode").opmap.get("RESUME", 0)])
