"""Errors of decoded documents: what is wrong in the words of this package, and where."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from tidegate.errors import WireError
from tidegate.model import FLAG_TYPES


def error_below(pointer: str, error: WireError) -> WireError:
    """Return an error of a part as an error of the whole; ``pointer`` is the part's."""
    return WireError(f"{pointer}{error.pointer}", error.message, error.unknown)


def escape_pointer(name: object) -> str:
    """Return a key as a part of a JSON pointer."""
    return str(name).replace("~", "~0").replace("/", "~1")


class BadCondition(ValueError):
    """Carries the error of a condition through the decoder, which adds where the condition is."""

    def __init__(self, error: WireError) -> None:
        super().__init__(error.message)
        self.error = error


# Not compiled: most processes meet no error.
_PLACE: Final = r" - at `\$(.*)`$"
_STEP: Final = r"\.([^.\[]+)|\[([0-9]+|\.\.\.)\]"
_MISSING: Final = r"Object missing required field `(.+)`"
_EXPECTED: Final = r"Expected `(.+)`, got `.+`"
_MUST_BE: Final[Mapping[str, str]] = {
    "str": "a string",
    "str | null": "a string or null",
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "array": "a list",
    "object": "an object",
    "object | null": "an object or null",
    "bool | int | float | str": "true, false, a number or a string",
}


def decoding_error(error: Exception, text: bytes | str) -> WireError:
    """Return what a decoder says in the words of this package, with the field's JSON pointer."""
    message = str(error)
    place = re.search(_PLACE, message)
    pointer = ""
    if place is not None:
        message = message[: place.start()]
        pointer = "".join(f"/{name or index}" for name, index in re.findall(_STEP, place[1]))
    cause = error.__cause__
    if isinstance(cause, BadCondition):
        return error_below(pointer, cause.error)
    if missing := re.fullmatch(_MISSING, message):
        return WireError(f"{pointer}/{missing[1]}", "is missing")
    if expected := re.fullmatch(_EXPECTED, message):
        if pointer.endswith("/..."):
            pointer = f"{pointer[:-4]}/{escape_pointer(_bad_entry(text))}"
        return WireError(pointer, f"must be {_MUST_BE.get(expected[1], expected[1])}")
    if message.startswith("Invalid enum value"):
        return WireError(pointer, f"must be one of {', '.join(FLAG_TYPES)}")
    if message.startswith("Number out of range"):
        return WireError(pointer, "must be a finite number")
    if "surrogate" in message or "escape" in message or isinstance(error, UnicodeError):
        return WireError(pointer, "contains text that is not valid Unicode")
    return WireError(pointer, "nests too deep" if isinstance(error, RecursionError) else message)


def _bad_entry(metadata_of: bytes | str) -> str:
    """Return the name of the first entry of a flag's metadata that is not a scalar."""
    metadata: dict[str, object] = msgspec.json.decode(metadata_of)["metadata"]
    scalar = bool | int | float | str
    return next(name for name, value in metadata.items() if not isinstance(value, scalar))
