"""Programs that wait to be signed in, under digests of their codes. All of it expires by itself.

The first decision counts, and one question takes it: a program gets at most one token.
"""

from __future__ import annotations

import msgspec

from tidegate_server.domain.device_sign_ins import TOO_SOON_MS, VALID_MS, Decision, DeviceSignIn
from tidegate_server.store import keys
from tidegate_server.store.connection import Connection


class DeviceSignIns:
    """Programs that wait to be signed in. Use ``Store.device_sign_ins``.

    A program is known by the digest of its secret, and by that of the code that its user sees.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def begin(self, digest: str, code_digest: str, waiting: DeviceSignIn) -> bool:
        """Keep a program that waits; False: another one has the code."""
        kept = self._connection.write(
            "SET", keys.device_code(code_digest), digest, "NX", "PX", VALID_MS
        )
        if kept is None:
            return False
        value = msgspec.json.encode(waiting)
        self._connection.write("SET", keys.device_sign_in(digest), value, "PX", VALID_MS)
        return True

    def get(self, digest: str) -> DeviceSignIn | None:
        """Return a program that waits; None: there is none, or it waits no longer."""
        value = self._connection.read("GET", keys.device_sign_in(digest))
        return None if value is None else msgspec.json.decode(value, type=DeviceSignIn)

    def find(self, code_digest: str) -> tuple[str, DeviceSignIn] | None:
        """Return the digest and the program that a code names; None: it names none."""
        digest = self._connection.read("GET", keys.device_code(code_digest))
        if digest is None:
            return None
        waiting = self.get(digest.decode())
        return None if waiting is None else (digest.decode(), waiting)

    def decide(self, digest: str, decision: Decision) -> bool:
        """Keep a decision; False: somebody decided already."""
        value = msgspec.json.encode(decision)
        kept = self._connection.write(
            "SET", keys.device_decision(digest), value, "NX", "PX", VALID_MS
        )
        return kept is not None

    def is_decided(self, digest: str) -> bool:
        """Return whether somebody has decided about a program."""
        return bool(self._connection.read("EXISTS", keys.device_decision(digest)))

    def take(self, digest: str) -> Decision | None:
        """Return the decision about a program, once; None: nobody has decided yet."""
        value = self._connection.write("GETDEL", keys.device_decision(digest))
        if value is None:
            return None
        self._connection.write("DEL", keys.device_sign_in(digest))
        return msgspec.json.decode(value, type=Decision)

    def asks_too_soon(self, digest: str) -> bool:
        """Note that a program asks; return whether it has asked just before."""
        noted = self._connection.write(
            "SET", keys.device_question(digest), "", "NX", "PX", TOO_SOON_MS
        )
        return noted is None
