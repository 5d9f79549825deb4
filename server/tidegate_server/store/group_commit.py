"""Makes one call of what waits at the same moment, because most calls of a store cost the same.

While a call is made, what comes waits, and goes along with the next one. Nobody waits for more than
the present call and their own, unless very many do. After a call that had company, the next one
begins ``PAUSE_SECONDS`` later, or when ``ENOUGH`` wait: so a busy process makes few.

Threads and greenlets: whoever comes first makes the call, for all who wait with them, and wakes the
first of those who came meanwhile. ``_lock`` guards the queue and is held for a few lines only.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

from tidegate_server.errors import TidegateError

Item = TypeVar("Item")
Answer = TypeVar("Answer")

PAUSE_SECONDS = 0.02
ENOUGH = 32

MOST_ITEMS = 64
MOST_WEIGHT = 5_000
"""How much one call has at most, unless a single item weighs more: others wait for it."""

ENDED = "The call was ended before it had an answer."


@dataclass(eq=False, slots=True)
class _Waiting(Generic[Item, Answer]):
    """An item in the queue; ``turn`` is released when it has its answer, or has to make a call."""

    item: Item
    weight: int
    turn: threading.Lock = field(default_factory=threading.Lock)
    answer: Answer | Exception | None = None
    leads: bool = False


class GroupCommit(Generic[Item, Answer]):
    """Answers items with as few calls as possible, in the order in which they came.

    Args:
        call: returns the answers to several items, in their order. A ``TidegateError`` that it
            raises is the answer to each of them. After another exception it is called for each of
            them alone, because one item may have caused it.
    """

    def __init__(self, call: Callable[[Sequence[Item]], Sequence[Answer]]) -> None:
        self._call = call
        self._lock = threading.Lock()
        self._queue: deque[_Waiting[Item, Answer]] = deque()
        self._is_calling = False
        self._began = 0.0
        self._had_company = False
        self._enough = threading.Event()

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits, and no call is made."""
        return not self._is_calling

    def answer(self, item: Item, weight: int = 1) -> Answer:
        """Return the answer to an item, once a call has it.

        Args:
            item: what a call is made for.
            weight: how much of ``MOST_WEIGHT`` it takes up.
        """
        mine = _Waiting[Item, Answer](item, weight)
        with self._lock:
            self._queue.append(mine)
            mine.leads, self._is_calling = not self._is_calling, True
            if not mine.leads:
                mine.turn.acquire()
            if len(self._queue) >= ENOUGH:
                self._enough.set()
        if not mine.leads:
            self._wait(mine)
        if mine.leads:
            self._lead(mine)
        if isinstance(mine.answer, Exception):
            raise mine.answer
        return cast(Answer, mine.answer)

    def _wait(self, mine: _Waiting[Item, Answer]) -> None:
        try:
            mine.turn.acquire()
        except BaseException:  # this thread or greenlet is ended
            with self._lock:
                if mine in self._queue:
                    self._queue.remove(mine)
            if mine.leads:
                self._hand_over()
            raise

    def _lead(self, mine: _Waiting[Item, Answer]) -> None:
        group = [mine]
        answers: list[Answer | Exception] = []
        try:
            try:
                self._keep_apart()
            except BaseException:  # this thread or greenlet is ended
                with self._lock:
                    self._queue.remove(mine)
                raise
            with self._lock:
                group = self._next_group()
            self._began, self._had_company = time.monotonic(), len(group) > 1
            answers = self._call_for([each.item for each in group])
        finally:
            for number, each in enumerate(group):
                each.leads = False
                each.answer = answers[number] if number < len(answers) else RuntimeError(ENDED)
                if each is not mine:
                    each.turn.release()
            self._hand_over()

    def _call_for(self, items: Sequence[Item]) -> list[Answer | Exception]:
        try:
            return list(self._call(items))
        except TidegateError as error:
            return [copy(error) for _ in items]  # raising one adds to its traceback
        except Exception as error:
            if len(items) == 1:
                return [error]
            return [answer for item in items for answer in self._call_for([item])]

    def _keep_apart(self) -> None:
        left = self._began + PAUSE_SECONDS - time.monotonic() if self._had_company else 0.0
        self._enough.clear()
        if left > 0 and len(self._queue) < ENOUGH:
            self._enough.wait(left)
        else:
            time.sleep(0)  # greenlets that can go on now get into the queue

    def _next_group(self) -> list[_Waiting[Item, Answer]]:
        group = [self._queue.popleft()]
        weight = group[0].weight
        while self._queue and len(group) < MOST_ITEMS:
            weight += self._queue[0].weight
            if weight > MOST_WEIGHT:
                break
            group.append(self._queue.popleft())
        return group

    def _hand_over(self) -> None:
        """Let the first in the queue make the next call."""
        with self._lock:
            self._is_calling = bool(self._queue)
            if self._queue:
                self._queue[0].leads = True
                self._queue[0].turn.release()
