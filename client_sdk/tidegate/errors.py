"""Every exception of the SDK.

::

    Exception
    ├── TidegateError
    │   ├── InvalidCondition     a condition that cannot be evaluated
    │   ├── InvalidFlag          a flag that cannot be evaluated
    │   ├── InvalidSetting       a URL or token that cannot be used
    │   ├── TypeMismatch         a flag of another type than the application asked for
    │   ├── WireError            a document that is not a snapshot, an update or a part of one
    │   └── Unreachable          the server did not answer as it should
    │       ├── Refused          the server does not accept the token
    │       └── Rejected         the server does not accept a request, and no retry helps
    └── AssertionError
        ├── UnknownFlag          a test in strict mode does not set a flag
        └── WrongType            a test sets a value of the wrong type

Evaluation never raises: it gives an error code in the details. An application can meet
``WireError`` when it makes a client from a document, and the last two in its tests.
"""

from __future__ import annotations


class TidegateError(Exception):
    """The base of the SDK's errors."""


class InvalidCondition(TidegateError):
    """An unknown operator, or a value that the operator cannot compare with."""


class InvalidFlag(TidegateError):
    """A flag that contradicts itself: an unknown variant, or a value of the wrong type."""


class InvalidSetting(TidegateError):
    """A URL or a token that cannot be used. No retry helps: a person has to correct it."""


class TypeMismatch(TidegateError):
    """A flag of another type than the application asked for."""


class WireError(TidegateError):
    """A document with a missing or wrong field.

    Attributes:
        pointer: the JSON pointer of the field (``/rules/0/when/operator``).
        message: what is wrong and what would be right.
        unknown: the name of an operator that does not exist, if that is wrong.
    """

    def __init__(self, pointer: str, message: str, unknown: str = "") -> None:
        super().__init__(f"{pointer or '/'}: {message}")
        self.pointer = pointer
        self.message = message
        self.unknown = unknown


class Unreachable(TidegateError):
    """The server did not answer as it should.

    Attributes:
        kind: the cause, in a few words.
        wait: how many seconds the server asks to wait before the next request.
    """

    def __init__(self, kind: str, wait: float = 0.0) -> None:
        super().__init__(kind)
        self.kind = kind
        self.wait = wait


class Refused(Unreachable):
    """The server does not accept the token."""


class Rejected(Unreachable):
    """The server does not accept the content of a request. No retry of the same helps.

    Attributes:
        reason: the server's explanation.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(kind)
        self.reason = reason


class UnknownFlag(AssertionError):
    """In strict mode, the application asked for a flag that the test does not set."""


class WrongType(AssertionError):
    """The test sets a value that does not have the type the application asked for."""
