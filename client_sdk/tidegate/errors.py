"""Every error of the SDK.

::

    TidegateError
    ├── InvalidCondition     a condition that no context could be held against
    └── WireError            a document that is not a snapshot, an update or a part of one

Evaluation never raises: these appear where documents are read, and in the details
of an evaluation as an error code.
"""

from __future__ import annotations


class TidegateError(Exception):
    """The root of the SDK's errors."""


class InvalidCondition(TidegateError):
    """An operator that does not exist, or a value that it cannot compare with."""


class WireError(TidegateError):
    """A document that is not what it claims to be.

    Attributes:
        pointer: JSON pointer of the field at fault (``/rules/0/when/operator``).
        message: what is wrong and what would be right.
    """

    def __init__(self, pointer: str, message: str) -> None:
        super().__init__(f"{pointer or '/'}: {message}")
        self.pointer = pointer
        self.message = message
