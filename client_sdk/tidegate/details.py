"""What an application is told: about an evaluation, in OpenFeature's words, and a client.

Named tuples, and no dataclasses: ``import tidegate`` needs this module, and would take a
quarter longer with the machinery of dataclasses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, NamedTuple, TypeVar

T = TypeVar("T")


class EvaluationDetails(NamedTuple, Generic[T]):
    """A value with its why. Where ``error_code`` is set, ``value`` is the caller's default.

    One is made for each question: a frozen dataclass would take five times as long.
    """

    flag_key: str
    value: T
    variant: str | None
    reason: str
    error_code: str | None
    error_message: str | None
    metadata: Mapping[str, Any]

    def __reduce__(self) -> tuple[type[EvaluationDetails[T]], tuple[Any, ...]]:
        """Pickled and copied, the metadata becomes a dictionary; here it cannot be changed."""
        return type(self), (*self[:-1], dict(self.metadata))


class ClientStatus(NamedTuple):
    """How a client stands.

    Attributes:
        state: ``starting`` (no flags yet), ``connected``, ``stale`` (flags, but no
            connection), ``offline`` (made from a document), ``closed`` or ``postponed`` (made
            in a uWSGI master, whose workers begin when they are forked).
        version: of the snapshot in force; None before the first.
        age: seconds since the server last confirmed the flags; None before that.
        instance: the id under which this process reports.
        dropped: operations and values that could not be counted: for want of room, or
            because a value was no finite number.
        closed_here: keys of flags whose release this process, or the one it was forked from,
            closed for itself, until the server speaks again.
    """

    state: str
    version: int | None
    age: float | None
    instance: str | None
    dropped: int
    closed_here: frozenset[str] = frozenset()


class ClientEvent(NamedTuple):
    """A change of a client's state, for those who listen.

    Attributes:
        kind: ``ready`` (connected, also again), ``changed`` (other flags are in force),
            ``stale`` (the connection is lost) or ``refused`` (the server does not take the
            token).
        flags: keys of the flags that ``changed``.
        message: why, where there is a reason.
    """

    kind: str
    flags: frozenset[str] = frozenset()
    message: str = ""
