"""What a client returns to the application: evaluation details, its status, its events.

These are named tuples: ``import tidegate`` needs this module, and importing ``dataclasses``
would make it a quarter slower. Their types are no strings (``from __future__ import annotations``),
because ``NamedTuple`` compiles each string, which takes three times as long.
"""

from collections.abc import Mapping
from typing import Any, Generic, NamedTuple, TypeVar

T = TypeVar("T")


class EvaluationDetails(NamedTuple, Generic[T]):
    """A flag's value and how it was chosen, in OpenFeature's terms.

    Attributes:
        flag_key: the flag's key.
        value: the value; the caller's default if ``error_code`` is set.
        variant: the variant's key; None on an error.
        reason: OpenFeature's reason; ``STALE`` while the server has not confirmed cached flags.
        error_code: OpenFeature's error code; None on success.
        error_message: what is wrong and how to fix it.
        metadata: flag metadata; read-only.
    """

    flag_key: str
    value: T
    variant: str | None
    reason: str
    error_code: str | None
    error_message: str | None
    metadata: Mapping[str, Any]

    def __reduce__(self) -> "tuple[type[EvaluationDetails[T]], tuple[Any, ...]]":
        """Pickle the metadata as a dictionary: a read-only mapping cannot be pickled."""
        return type(self), (*self[:-1], dict(self.metadata))


class ClientStatus(NamedTuple):
    """The status of a client.

    Attributes:
        state: ``starting`` (no flags yet), ``connected``, ``stale`` (flags, but no
            connection), ``offline`` (made from a document), ``closed`` or ``postponed`` (made
            in a uWSGI master; its workers connect after they are forked).
        version: the version of the snapshot in use; None before the first.
        age: seconds since the server last confirmed the flags; None before that.
        instance: the id under which this process reports; None if it does not report.
        dropped: operations and values that were not counted, because memory was full, a value
            was not a finite number, or the client was closed before a report had them.
        closed_here: keys of flags whose release was closed by the local breaker of this
            process, or of its parent, until the server can be reached again.
        problem: why the server cannot be reached, or why there is no connection to it; None while
            there is one, and before the first attempt has failed.
        problem_age: seconds since the server could first not be reached; None without a problem.
        invalid_contexts: how often the application gave a context or a targeting key of a wrong
            type, or its function for the context raised.
        key_set_problem: why the keys that were uploaded to a segment are older here than on the
            server, or missing; None while they are not. Flags that need them stay as they were;
            those that were never complete here give the application's default.
        report_problem: why the last report did not arrive; None if it did, or there was none. The
            next report repeats its counts.
    """

    state: str
    version: int | None
    age: float | None
    instance: str | None
    dropped: int
    closed_here: frozenset[str] = frozenset()
    invalid_contexts: int = 0
    problem: str | None = None
    problem_age: float | None = None
    key_set_problem: str | None = None
    report_problem: str | None = None


class ClientEvent(NamedTuple):
    """A change of a client's state.

    Attributes:
        kind: ``ready`` (connected or reconnected), ``changed`` (flags changed), ``stale`` (the
            connection is lost) or ``refused`` (the server does not accept the token, or the URL
            or token cannot be used).
        flags: keys of the changed flags, for ``changed``.
        message: the reason, for ``stale`` and ``refused``.
    """

    kind: str
    flags: frozenset[str] = frozenset()
    message: str = ""
