"""The index of an audit log: which entries are about a key, an id or an email.

The commit script keeps it with the log (``audit_index.lua``). Servers of an earlier version add
entries without it; whoever reads it next completes it.
"""

from __future__ import annotations

from tidegate_server.store import keys
from tidegate_server.store.connection import Command, Connection

STEP = 200
"""How many entries one run of the script indexes."""

LAST_TIME = "9" * 13
"""The latest time that the index may have, in the year 2286; a range may end or begin later."""

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


def _positions(connection: Connection, scope: str, command: Command) -> list[str]:
    (number, indexed), length, found = connection.read_many(
        [
            ("HMGET", keys.audit_chain(scope), "number", "indexed_number"),
            ("XLEN", keys.audit(scope)),
            command,
        ],
        atomic=True,
    )
    if length and indexed != (number or b"0"):
        complete(connection, scope)
        found = connection.read(*command)
    return [position_of(each) for each in found]
