"""What the server keeps about itself."""

from __future__ import annotations

from dataclasses import dataclass

SERVER_KEY = "server"
"""The key of the one ``ServerRecord``, in the scope ``""``."""


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """Written at the first start; ``key_fingerprint`` tells which secret key the digests of
    the tokens were made with."""

    key_fingerprint: str
