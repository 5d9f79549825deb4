"""The sessions of people who have signed in.

A session is not configuration: it is written without the commit script, and its last use is noted
to about a minute. The store keeps a digest of its secret, and forgets a session by itself when it
was idle for too long or has reached its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from tidegate_server.domain.sessions import Session
from tidegate_server.store import keys
from tidegate_server.store.connection import Command, Connection


class Sessions:
    """The sessions of every person. Use ``Store.sessions``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def begin(self, session: Session, now_ms: int, sealed_id_token: str = "") -> None:
        """Keep a new session, and the sealed ID token that began it, if there was one."""
        commands: list[Command] = [
            ("SET", keys.session(session.digest), *_value(session, now_ms)),
            ("SADD", keys.sessions_of(session.person), session.digest),
        ]
        left_ms = max(1, session.expires_ms - now_ms)
        if session.reference:
            name = keys.sessions_at(session.provider, session.reference)
            commands += [("SADD", name, session.digest), ("PEXPIRE", name, left_ms)]
        if sealed_id_token:
            commands.append(("SET", keys.id_token(session.digest), sealed_id_token, "PX", left_ms))
        self._connection.write_many(commands)

    def get(self, digest: str) -> Session | None:
        """Return the session whose secret has a digest; None: it has ended."""
        value = self._connection.read("GET", keys.session(digest))
        return None if value is None else msgspec.json.decode(value, type=Session)

    def sealed_id_token(self, digest: str) -> str:
        """Return the ID token with which a session began, sealed; empty: there is none."""
        value = self._connection.read("GET", keys.id_token(digest))
        return "" if value is None else value.decode()

    def of_person(self, person: str) -> list[Session]:
        """Return the sessions of a person, the last used first."""
        return self._listed(keys.sessions_of(person))

    def of_people(self, people: Iterable[str]) -> list[Session]:
        """Return the sessions of people, the last used first."""
        sets = self._connection.read_many(
            [("SMEMBERS", keys.sessions_of(person)) for person in people]
        )
        digests = [each.decode() for found in sets for each in found]
        values = self._connection.read_many([("GET", keys.session(each)) for each in digests])
        return _last_used_first(values)

    def of_reference(self, provider: str, reference: str) -> list[Session]:
        """Return the sessions that an identity provider calls by one name."""
        return self._listed(keys.sessions_at(provider, reference))

    def _listed(self, name: str) -> list[Session]:
        """Return the sessions in a set of digests, and forget there those that have ended."""
        digests = sorted(each.decode() for each in self._connection.read("SMEMBERS", name))
        values = self._connection.read_many([("GET", keys.session(digest)) for digest in digests])
        gone = [digest for digest, value in zip(digests, values, strict=True) if value is None]
        if gone:
            self._connection.write("SREM", name, *gone)
        return _last_used_first(values)

    def note_uses(self, uses: Mapping[str, tuple[Session, int]], now_ms: int) -> None:
        """Note when sessions were last used, by digest; one that has ended stays so."""
        if uses:
            self._connection.write_many(
                [
                    ("SET", keys.session(digest), *_value(_seen(session, at_ms), now_ms), "XX")
                    for digest, (session, at_ms) in uses.items()
                ]
            )

    def end(self, sessions: Iterable[Session]) -> None:
        """End sessions. Every process notices it within ``ApiSettings.token_poll_seconds``."""
        ended = list(sessions)
        if not ended:
            return
        commands: list[Command] = [("INCR", keys.sessions_ended())]
        for each in ended:
            commands.append(("DEL", keys.session(each.digest), keys.id_token(each.digest)))
            commands.append(("SREM", keys.sessions_of(each.person), each.digest))
        self._connection.write_many(commands)

    def count_ended(self) -> int:
        """Return a number that rises whenever somebody ends a session."""
        return int(self._connection.read("GET", keys.sessions_ended()) or 0)


def _last_used_first(values: Iterable[bytes | None]) -> list[Session]:
    """Return the stored sessions, without those that have ended."""
    found = [msgspec.json.decode(each, type=Session) for each in values if each is not None]
    return sorted(found, key=lambda each: each.last_seen_ms, reverse=True)


def _seen(session: Session, at_ms: int) -> Session:
    return replace(session, last_seen_ms=max(session.last_seen_ms, at_ms))


def _value(session: Session, now_ms: int) -> tuple[Any, ...]:
    left_ms = session.ends_ms - now_ms
    return (msgspec.json.encode(session), "PX", max(1, left_ms))
