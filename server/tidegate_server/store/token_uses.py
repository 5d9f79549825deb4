"""When each token was last used, and from which address."""

from __future__ import annotations

from collections.abc import Mapping

from tidegate_server.domain.tokens import TokenUse
from tidegate_server.store import keys
from tidegate_server.store.connection import Connection


class TokenUses:
    """The last use of every token of the server."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def write(self, uses: Mapping[str, TokenUse]) -> None:
        """Note the last uses of tokens, by id."""
        if uses:
            fields = [
                part for id, use in uses.items() for part in (id, f"{use.at_ms} {use.address}")
            ]
            self._connection.write("HSET", keys.token_uses(), *fields)

    def read(self) -> dict[str, TokenUse]:
        """Return the last use of each token that was ever used, by id."""
        fields = self._connection.read("HGETALL", keys.token_uses())
        return {id.decode(): _decode(value.decode()) for id, value in fields.items()}

    def forget(self, id: str) -> None:
        """Forget the use of a token that was deleted."""
        self._connection.write("HDEL", keys.token_uses(), id)


def _decode(text: str) -> TokenUse:
    at_ms, _, address = text.partition(" ")
    return TokenUse(int(at_ms), address)
