"""The index of an audit log: which entries are about a key, an id or an email, and in which hours
there are some about a kind of object.

The commit script keeps it with the log (``audit_index.lua``). Servers of an earlier version add
entries without it; whoever reads it next completes it.
"""

from __future__ import annotations

from collections.abc import Iterator

from tidegate_server.store import keys
from tidegate_server.store.connection import Command, Connection

STEP = 200
"""How many entries one run of the script indexes."""

LAST_TIME = "9" * 13
"""The latest time that the index may have, in the year 2286; a range may end or begin later."""

HOUR_MS = 3_600_000

HOURS = 100
"""How many hours one read gets."""

LAST_NUMBER = "999999"
"""The greatest number of entries of one millisecond."""


def member_of(position: str) -> str:
    """Return a position in a log as the index has it."""
    time, _, number = position.partition("-")
    return f"{time:0>13}-{number:0>6}"


def _limit_of(position: str, last: str) -> str:
    """Return an end of a range of a log, as one of a range of the index.

    ``last`` is the number of a position that is a time alone.
    """
    if position in ("-", "+"):
        return position
    exclusive = position.startswith("(")
    time, _, number = position.removeprefix("(").partition("-")
    time = LAST_TIME if len(time) > len(LAST_TIME) else time
    return f"{'(' if exclusive else '['}{member_of(f'{time}-{number or last}')}"


def position_of(member: bytes) -> str:
    """Return the position in the log that the index has as ``member``."""
    time, _, number = member.decode().partition("-")
    return f"{int(time)}-{int(number)}"


def complete(connection: Connection, scope: str) -> None:
    """Index all entries of a log that the index does not have yet."""
    names = [keys.audit(scope), keys.audit_chain(scope)]
    while connection.run_script("index_audit", names, [STEP]) == STEP:
        pass


def latest(
    connection: Connection, scope: str, name: str, start: str, end: str, limit: int
) -> list[str]:
    """Return the positions of the entries about ``name`` between two, the latest first.

    Args:
        connection: the store.
        scope: whose log it is.
        name: a key, an id or an email.
        start, end: as of a range of the log; ``(`` before one leaves it out.
        limit: how many at most.
    """
    bounds = (_limit_of(end, LAST_NUMBER), _limit_of(start, "0"))
    return _positions(
        connection,
        scope,
        ("ZRANGE", keys.audit_of(scope, name), *bounds, "BYLEX", "REV", "LIMIT", 0, limit),
    )


def earliest(
    connection: Connection, scope: str, name: str, start: str, end: str, limit: int
) -> list[str]:
    """Return positions as ``latest`` does, but the earliest first."""
    bounds = (_limit_of(start, "0"), _limit_of(end, LAST_NUMBER))
    return _positions(
        connection,
        scope,
        ("ZRANGE", keys.audit_of(scope, name), *bounds, "BYLEX", "LIMIT", 0, limit),
    )


def latest_spans(
    connection: Connection, scope: str, kind: str, start: str, end: str
) -> Iterator[tuple[str, str]]:
    """Yield the ends of ranges of the log with all entries between two that are about a kind.

    The latest first. They have other entries, too: whole hours. Hours that follow each other are
    one range.

    Args:
        connection: the store.
        scope: whose log it is.
        kind: a kind of object.
        start, end: as of ``latest``.
    """
    first, last = _hour_of(start), _hour_of(end)
    while True:
        bounds = ("+" if last is None else f"[{last:07}", "-" if first is None else f"[{first:07}")
        hours = _hours(connection, scope, kind, *bounds, "BYLEX", "REV")
        for late, early in _runs(hours, -1):
            yield _range_of(early, late, start, end)
        if len(hours) < HOURS:
            return
        last = hours[-1] - 1


def earliest_spans(
    connection: Connection, scope: str, kind: str, start: str, end: str
) -> Iterator[tuple[str, str]]:
    """Yield ranges as ``latest_spans`` does, but the earliest first."""
    first, last = _hour_of(start), _hour_of(end)
    while True:
        bounds = ("-" if first is None else f"[{first:07}", "+" if last is None else f"[{last:07}")
        hours = _hours(connection, scope, kind, *bounds, "BYLEX")
        for early, late in _runs(hours, 1):
            yield _range_of(early, late, start, end)
        if len(hours) < HOURS:
            return
        first = hours[-1] + 1


def _hour_of(position: str) -> int | None:
    """Return the hour of an end of a range of a log; None: it has no end there."""
    if position in ("-", "+"):
        return None
    return int(position.removeprefix("(").partition("-")[0]) // HOUR_MS


def _hours(connection: Connection, scope: str, kind: str, *how: str) -> list[int]:
    command = ("ZRANGE", keys.audit_hours(scope, kind), *how, "LIMIT", 0, HOURS)
    return [int(each) for each in _read_complete(connection, scope, command)]


def _runs(hours: list[int], step: int) -> Iterator[tuple[int, int]]:
    """Yield the first and the last of the hours that follow each other."""
    begin = 0
    for index, hour in enumerate(hours):
        if index + 1 == len(hours) or hours[index + 1] != hour + step:
            yield hours[begin], hour
            begin = index + 1


def _range_of(early: int, late: int, start: str, end: str) -> tuple[str, str]:
    """Return the part of these hours that is between two positions, as ends of a range."""
    return (
        start if _hour_of(start) == early else f"{early * HOUR_MS}",
        end if _hour_of(end) == late else f"{(late + 1) * HOUR_MS - 1}",
    )


def _positions(connection: Connection, scope: str, command: Command) -> list[str]:
    return [position_of(each) for each in _read_complete(connection, scope, command)]


def _read_complete(connection: Connection, scope: str, command: Command) -> list[bytes]:
    """Return what a command reads from an index that has every entry of the log."""
    found: list[bytes]
    (number, indexed), length, found = connection.read_many(
        [
            ("HMGET", keys.audit_chain(scope), "number", "index_number"),
            ("XLEN", keys.audit(scope)),
            command,
        ],
        atomic=True,
    )
    if length and indexed != (number or b"0"):
        complete(connection, scope)
        found = connection.read(*command)
    return found
