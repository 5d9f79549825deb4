"""How people write many targeting keys: plain lines, NDJSON or CSV, read piece by piece.

Whatever arrives, no more than a piece and one line of it are in memory.
"""

from __future__ import annotations

import csv
import zlib
from collections.abc import Iterable, Iterator
from enum import StrEnum

import msgspec

from tidegate_server.errors import FieldProblem, Invalid

MAX_KEY = 500
"""The longest targeting key, in characters."""

MAX_LINE = 64 * 1024
"""The longest line, in bytes."""

PIECE = 64 * 1024
"""How many bytes are decompressed at once."""

USUAL_COLUMNS = ("targetingkey", "targeting_key", "key")


class KeyFormat(StrEnum):
    """A form of keys, by its content type."""

    LINES = "text/plain"
    NDJSON = "application/x-ndjson"
    CSV = "text/csv"


def decompressed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the content of gzip in small pieces, however well it is compressed.

    Raises:
        Invalid: it is not gzip, or it is cut off.
    """
    decoder = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        for piece in pieces:
            waiting = piece
            while waiting and not decoder.eof:
                yield decoder.decompress(waiting, PIECE)
                waiting = decoder.unconsumed_tail
            if decoder.eof and (waiting or decoder.unused_data):
                raise _problem("There is something after the end of the gzip; remove it.")
    except zlib.error:
        raise _problem("The body is not gzip, as its Content-Encoding says.") from None
    if not decoder.eof:
        raise _problem("The gzip is cut off; send all of it.")


def read_keys(pieces: Iterable[bytes], form: KeyFormat, column: str = "") -> Iterator[list[str]]:
    """Yield the keys in a text, some at a time; lists may be empty.

    Args:
        pieces: the text in UTF-8, in pieces of any size.
        form: how the keys are written.
        column: the column of CSV, or the field of NDJSON objects, that has the key; empty: the
            only column, or the one called ``targetingKey`` or ``key``; the field ``key``.

    Raises:
        Invalid: a line is not a key; the message has its number.
    """
    lines = _Lines(pieces)
    if form is KeyFormat.CSV:
        yield from _csv_keys(lines, column)
        return
    for several in lines:
        first = lines.number - len(several)
        keys: list[str] = []
        for number, line in enumerate(several, first + 1):
            if not line or line == "\r":
                continue
            if form is KeyFormat.NDJSON:
                keys.append(_checked(_json_key(line, column or "key", number), number))
            else:
                keys.append(_plain(line.removesuffix("\r"), number))
        yield keys


class _Lines:
    """The lines of a text, some at a time, without their ends.

    Attributes:
        number: how many lines were read.
    """

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces
        self.number = 0

    def __iter__(self) -> Iterator[list[str]]:
        rest = b""
        for piece in self._pieces:
            # What comes before the last end of a line, so that no character is cut.
            whole, end, after = piece.rpartition(b"\n")
            if end:
                yield self._decoded(rest + whole)
                rest = after
            else:
                rest += after
            if len(rest) > MAX_LINE:
                raise _problem(
                    f"Line {self.number + 1:,} is longer than {MAX_LINE // 1024} kB. Write one key "
                    "on each line."
                )
        if rest:
            yield self._decoded(rest)

    def _decoded(self, content: bytes) -> list[str]:
        try:
            lines = content.decode().split("\n")
        except UnicodeDecodeError as error:
            number = self.number + 1 + content.count(b"\n", 0, error.start)
            raise _problem(f"Line {number:,} is not UTF-8.") from None
        if not self.number:
            lines[0] = lines[0].removeprefix("\ufeff")
        self.number += len(lines)
        return lines


def _csv_keys(lines: _Lines, column: str) -> Iterator[list[str]]:
    rows = csv.reader((f"{line}\n" for several in lines for line in several), strict=True)
    place: int | None = None
    keys: list[str] = []
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            number = rows.line_num
            raise _problem(f"Line {number:,} is not CSV: {error}.") from None
        if row is None:
            break
        if not row:
            continue
        if place is None:
            place = _column(row, column)
            continue
        if len(row) <= place:
            raise _problem(
                f"Line {rows.line_num:,} has {len(row)} columns, and the key is in column "
                f"{place + 1}."
            )
        keys.append(_plain(row[place], rows.line_num))
        if len(keys) >= 1_000:
            yield keys
            keys = []
    yield keys


def _column(header: list[str], column: str) -> int:
    names = [name.strip() for name in header]
    if column:
        if column in names:
            return names.index(column)
        raise _problem(f"There is no column {column!r}; the first line names {', '.join(names)}.")
    found = [place for place, name in enumerate(names) if name.lower() in USUAL_COLUMNS]
    if len(names) == 1 and (";" in names[0] or "\t" in names[0]):
        raise _problem("Separate the columns with commas.")
    if len(found) == 1 or len(names) == 1:
        return found[0] if found else 0
    raise _problem(f"Say which column has the keys; the first line names {', '.join(names)}.")


_decode_text = msgspec.json.Decoder(str).decode


def _json_key(line: str, field: str, number: int) -> object:
    try:
        return _decode_text(line)
    except (msgspec.MsgspecError, UnicodeError):
        pass
    try:
        value = msgspec.json.decode(line)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise _problem(f"Line {number:,} is not JSON.") from None
    if isinstance(value, dict):
        if field not in value:
            raise _problem(f"Line {number:,} has no field {field!r}.")
        value = value[field]
    return value


def _plain(key: str, number: int) -> str:
    if key != key.strip():
        raise _problem(
            f"The key in line {number:,} has white space around it. Remove it; if the key really "
            "has it, send NDJSON."
        )
    return _checked(key, number)


def _checked(key: object, number: int) -> str:
    if not isinstance(key, str):
        raise _problem(f"The key in line {number:,} must be a string.")
    if not key:
        raise _problem(f"The key in line {number:,} is empty.")
    if len(key) > MAX_KEY:
        raise _problem(f"The key in line {number:,} is longer than {MAX_KEY} characters.")
    return key


def _problem(detail: str) -> Invalid:
    return Invalid(f"Nothing was changed. {detail}", FieldProblem("", detail))
