"""What the API has to be told when it starts."""

from __future__ import annotations

from dataclasses import dataclass

MEGABYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """Settings of one API process.

    Attributes:
        secret_key: the key of the tokens' digests; the same in every server process.
        keep_alive_seconds: how often an idle stream gets a comment, so that proxies keep it.
        token_recheck_seconds: how often a stream looks whether its token is still good.
        token_cache_seconds: how long a token that was found is not looked up again, which
            is also how long a deleted token may still work.
        stream_credential_seconds: how long the address of a stream of notices is good at
            least; twice as long at most.
        origins_cache_seconds: how long a changed list of allowed origins may be unknown.
        body_limit: the largest request body, in bytes.
        report_limit: the largest report of an SDK instance, in bytes.
    """

    secret_key: bytes
    keep_alive_seconds: float = 15.0
    token_recheck_seconds: float = 60.0
    token_cache_seconds: float = 1.0
    stream_credential_seconds: int = 900
    origins_cache_seconds: float = 2.0
    body_limit: int = MEGABYTE
    report_limit: int = 4 * MEGABYTE
